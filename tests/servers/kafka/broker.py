"""One broker of a cluster: its storage, formatted once, and its process, which may end and start again."""

from collections.abc import Callable
from pathlib import Path

from tests.servers.kafka.jars import java_command
from tests.servers.kafka.properties import Account, Node
from tests.servers.ports import LOOPBACK, accepts
from tests.servers.processes import ServerProcess, run_tool

# Without the optimising compiler: a broker starts a quarter faster, and serves no slower while it is young.
QUICK_START = ("-XX:TieredStopAtLevel=1",)

_START_SECONDS = 90.0


class Broker:
    """A broker that is also a controller. Its ports and its data stay the same over `kill()` and `start()`."""

    def __init__(self, node: Node, properties: Path, java_options: tuple[str, ...]) -> None:
        self.id = node.id
        self.bootstrap = f"{LOOPBACK}:{node.port}"
        self.tls_bootstrap = f"{LOOPBACK}:{node.tls_port}"
        self._node = node
        self._properties = properties
        self._process = ServerProcess(
            f"Kafka broker {node.id}",
            java_command(
                "kafka.Kafka",
                properties,
                # A killed broker leaves the native libraries that it unpacked: among its own files, not the system's.
                options=("-Xms128m", "-Xmx512m", f"-Djava.io.tmpdir={properties.parent}", *java_options),
            ),
            log=properties.with_suffix(".log"),
        )

    def format(self, cluster_id: str, account: Account) -> None:
        """Prepare the storage, with the account that SCRAM knows; only at the first start, there is no broker yet."""
        login = f"[name={account.username},password={account.password}]"
        scram = [f"--add-scram=SCRAM-SHA-{digest}={login}" for digest in (256, 512)]
        run_tool(
            java_command(
                "kafka.tools.StorageTool",
                # Not two words for the id: it may begin with a hyphen.
                *("format", f"--cluster-id={cluster_id}", "--config", self._properties, *scram),
                options=("-Xmx128m", *QUICK_START),
            ),
            seconds=_START_SECONDS,
        )

    def start(self, answers: Callable[[], bool] | None = None) -> None:
        """Start it and return once `answers()`; by default, once its two listeners accept connections."""
        self._process.start(answers or self.accepts, _START_SECONDS)

    def accepts(self) -> bool:
        """Say whether both listeners accept connections."""
        return accepts(self._node.port) and accepts(self._node.tls_port)

    @property
    def running(self) -> bool:
        """Whether its process is there, paused or not."""
        return self._process.running

    def stop(self) -> None:
        """Shut it down in order: it hands its partitions over first, where another broker can take them."""
        self._process.stop()

    def kill(self) -> None:
        """End it as a crash would."""
        self._process.kill()

    def pause(self) -> None:
        """Freeze it: connections are accepted and nothing is answered."""
        self._process.pause()

    def resume(self) -> None:
        """Let it go on after `pause()`."""
        self._process.resume()

    def log(self) -> str:
        """Return what it has logged: warnings and errors."""
        return self._process.log.read_text(errors="replace")
