"""`mailsluice serve`."""

import typer

from gateway.cli.configuration import ConfigOption, read_configuration

__all__ = ["serve"]


def serve(config: ConfigOption = None) -> None:
    """Run the gateway until SIGTERM or SIGINT; SIGHUP has it read its configuration again.

    Without a configuration it takes SMTP on 127.0.0.1:2525 and LMTP on 127.0.0.1:2424, and keeps mail in ./mail.
    """
    from gateway import app
    from gateway.config import load

    configuration = read_configuration(config)
    try:
        ended_in_order = app.serve(configuration, lambda: load(config))
    except app.StartError as error:
        typer.echo(f"mailsluice: {error}", err=True)
        raise typer.Exit(1) from error
    if not ended_in_order:
        raise typer.Exit(1)
