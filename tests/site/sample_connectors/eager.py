"""A connector that imports a missing library right away."""

import a_library_that_is_absent

CONNECTOR = a_library_that_is_absent.CONNECTOR
