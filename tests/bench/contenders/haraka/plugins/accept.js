// Every recipient is known, and every message is queued: nowhere.
exports.hook_rcpt = (next) => next(OK)
exports.hook_queue = (next) => next(OK)
