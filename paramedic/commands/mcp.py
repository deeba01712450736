"""`paramedic mcp SERVER`: read-only tools for models, over stdio or HTTP."""

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def mcp(
        server: Annotated[str, typer.Argument(help="One of: observability, incidents, runbooks.")],
        http: Annotated[bool, typer.Option("--http", help="Streamable HTTP instead of stdio.")] = False,
        host: Annotated[
            str, typer.Option(help="Address to listen on; beyond loopback PARAMEDIC_API_TOKEN must be set.")
        ] = "127.0.0.1",
        port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 0,
        allow_host: Annotated[
            list[str] | None,
            typer.Option(help="Further name that clients call this machine by (may be given more than once)."),
        ] = None,
    ) -> None:
        """Serve read-only tools to a model: stdio for a client that starts this command, or --http."""
        from libs.service.platform import open_platform
        from libs.service.settings import load_settings
        from services.mcp.tool import TOOLSETS

        if server not in TOOLSETS:
            raise typer.BadParameter(f"{server!r} is not an MCP server; choose one of {', '.join(TOOLSETS)}")
        if not http and (host, port, allow_host) != ("127.0.0.1", 0, None):
            raise typer.BadParameter("--host, --port and --allow-host need --http")

        from services.mcp.http_server import Address, serve_http
        from services.mcp.server import PATH, build_server, http_app, serve_stdio
        from services.mcp.sources import Sources

        settings = load_settings()
        platform = open_platform("mcp", settings)
        built = build_server(TOOLSETS[server], Sources(platform), platform.log)
        if not http:
            serve_stdio(built)
            return
        token = settings.api_token.get_secret_value() if settings.api_token else None
        address = Address(host=host, port=port, names=tuple(allow_host or ()), token=token)
        app = http_app(built, hosts=address.allowed_hosts())
        serve_http(app, address, on_listening=lambda url: print(f"{server}: {url}{PATH}   Ctrl-C stops it", flush=True))
