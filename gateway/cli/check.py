"""`mailsluice check`."""

import typer

from gateway.cli.configuration import ConfigOption, read_configuration

__all__ = ["check"]


def check(config: ConfigOption = None) -> None:
    """Say everything that is wrong with a configuration, and start nothing."""
    from gateway import app

    configuration = read_configuration(config)
    try:
        app.build_connectors(configuration.connectors)
        keys = app.load_keys(configuration.gateway)
    except app.StartError as error:
        typer.echo(f"mailsluice: {error}", err=True)
        raise typer.Exit(1) from error
    for listener in configuration.listeners:
        typer.echo(f"listener   {listener.name}: {listener.protocol} on {listener.bind}")
    for name, connector in configuration.connectors.items():
        typer.echo(f"connector  {name}: {connector.type.name}, metadata {connector.settings.metadata}")
    for route in configuration.routes:
        bounces = f", notifications via {route.bounce_via}" if route.bounce_via is not None else ""
        ways = [f"to {', '.join(route.connectors)}, {route.accept}{bounces}"] if route.connectors else []
        if route.refer is not None:
            ways.append(f"referred to {route.refer}")
        typer.echo(f"route      {', '.join(route.recipients)} {'; '.join(ways)}")
    if any(route.accept == "spooled" for route in configuration.routes):
        typer.echo(f"spool      {configuration.gateway.spool}")
    for key in keys:
        typer.echo(f"key        {key.name}: {keys.state_of(key)}")
    typer.echo("ok")
