"""The connectors that ship with the gateway, each found by its entry point like any third-party one."""
