"""Apache Kafka, one KRaft node, with a plain listener, one behind SASL/PLAIN and one behind TLS and SCRAM."""

import base64
import json
import secrets
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

from deploy.stack.artifacts import Say, cached, copy_with_dependencies, run_logged, write_checksums
from deploy.stack.layout import HOST, Layout, Ports
from deploy.stack.server import Launch
from libs.errors import Unavailable
from libs.streaming.kafka import KafkaBroker
from paramedic.toolchain import java

QUICK_START: Final = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")  # less compiling than it saves in a short life
SASL_USER: Final = "paramedic"
_POM: Final = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion><groupId>paramedic</groupId><artifactId>stack-kafka</artifactId><version>1</version>
  <dependencies>{dependencies}</dependencies>
</project>
"""
_LOGGING: Final = """<Configuration status="WARN">
  <Appenders><Console name="out"><PatternLayout pattern="%d{{ISO8601}} %p %c{{1}}: %m%n"/></Console></Appenders>
  <Loggers><Root level="{level}"><AppenderRef ref="out"/></Root></Loggers>
</Configuration>
"""


class Kafka:
    """The broker.

    Args:
        layout: Folders and ports.
        versions: Of deploy/versions.toml.
    """

    name = "kafka"
    ready_within_s = 180.0

    def __init__(self, layout: Layout, versions: Mapping[str, str]) -> None:
        self._layout = layout
        self._versions = versions
        self._home = layout.data_dir / "kafka"

    @property
    def version(self) -> str:
        """Version of the broker."""
        return self._versions["kafka"]

    @property
    def addresses(self) -> Mapping[str, str]:
        """host:port of each listener, and the files that a client of the secured ones needs."""
        ports = self._layout.ports
        return {
            "kafka": f"{HOST}:{ports.kafka}",
            "kafka_sasl": f"{HOST}:{ports.kafka_sasl}",
            "kafka_tls": f"{HOST}:{ports.kafka_tls}",
            "kafka_ca": str(self._home / "ca.pem"),
            "kafka_credentials": str(self._home / "credentials.json"),
        }

    def listens_on(self) -> Sequence[int]:
        """The listeners and the controller."""
        ports = self._layout.ports
        return (ports.kafka, ports.kafka_controller, ports.kafka_sasl, ports.kafka_tls)

    def obstacle(self) -> str:
        """Java is needed."""
        tool = java()
        return "" if tool.path else f"Java: {tool.detail}; {tool.advice}"

    def fetch(self, say: Say) -> Path:
        """The broker's jars with their closure."""

        def download(folder: Path) -> None:
            say(f"kafka {self.version}: downloading (43 MB); progress in {self._log('kafka-download')}")
            wanted = (
                f"org.apache.kafka:kafka_2.13:{self.version}",
                f"org.apache.logging.log4j:log4j-slf4j-impl:{self._versions['log4j']}",
                f"org.apache.logging.log4j:log4j-core:{self._versions['log4j']}",
            )
            pom = folder / "pom.xml"
            pom.write_text(pom_of(wanted))
            copy_with_dependencies(
                pom, folder / "lib", self._versions["maven-dependency-plugin"], self._log("kafka-download")
            )
            write_checksums(folder / "lib")

        return cached(self._layout.cache_dir / f"kafka-{self.version}", download)

    def configure(self) -> Launch:
        """Write server.properties, make the certificate and format the log folder the first time."""
        self._home.mkdir(parents=True, exist_ok=True)
        password = self._password()
        (self._home / "log4j2.xml").write_text(_LOGGING.format(level="WARN"))
        self._make_certificate(password)
        properties = self._home / "server.properties"
        properties.touch(mode=0o600)
        properties.write_text(server_properties(self._layout.ports, self._home, password))
        if not (self._home / "data" / "meta.properties").exists():
            self._format(properties, password)
        memory = ("-Xms128m", "-Xmx512m", "-XX:+UseSerialGC")
        return Launch(command=self._java(memory, "kafka.Kafka", str(properties)), folder=self._home)

    def is_ready(self) -> bool:
        """Whether the broker lists its topics."""
        try:
            KafkaBroker(f"{HOST}:{self._layout.ports.kafka}").topic_names(timeout_s=2.0)
        except Unavailable:
            return False
        return True

    def _java(self, options: Sequence[str], main: str, *arguments: str) -> list[str]:
        program = java().path
        if program is None:
            raise Unavailable(self.obstacle())
        jars = self._layout.cache_dir / f"kafka-{self.version}" / "lib" / "*"
        logging = f"-Dlog4j2.configurationFile={self._home / 'log4j2.xml'}"
        return [str(program), *options, logging, "-cp", str(jars), main, *arguments]

    def _format(self, properties: Path, password: str) -> None:
        login = f"SCRAM-SHA-512=[name={SASL_USER},password={password}]"
        arguments = ("format", "-t", cluster_id(uuid.uuid4()), "-c", str(properties), "--add-scram", login)
        run_logged(self._java(("-Xmx128m", *QUICK_START), "kafka.tools.StorageTool", *arguments), self._log("kafka"))

    def _make_certificate(self, password: str) -> None:
        keystore, certificate = self._home / "keystore.p12", self._home / "ca.pem"
        if certificate.exists():
            return
        program = java().path
        if program is None:
            raise Unavailable(self.obstacle())
        keytool = str(program.parent / "keytool")
        keystore.unlink(missing_ok=True)
        store = ("-keystore", str(keystore), "-storetype", "PKCS12", "-storepass:env", "KEYSTORE_PASSWORD")
        pair = ("-genkeypair", "-alias", "broker", "-keyalg", "EC", "-dname", "CN=localhost", "-validity", "3650")
        names = ("-ext", "san=ip:127.0.0.1,dns:localhost", "-ext", "bc=ca:true")
        secret = {"KEYSTORE_PASSWORD": password}
        run_logged([keytool, *pair, *names, *store], self._log("kafka"), env=secret)
        run_logged(
            [keytool, "-exportcert", "-rfc", "-alias", "broker", *store, "-file", str(certificate)],
            self._log("kafka"), env=secret,
        )  # fmt: skip

    def _password(self) -> str:
        """Made once a data folder; only its owner can read it."""
        path = self._home / "credentials.json"
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(json.dumps({"username": SASL_USER, "password": secrets.token_hex(16)}))
        return str(json.loads(path.read_text())["password"])

    def _log(self, name: str) -> Path:
        return self._layout.logs_dir / f"{name}.log"


def pom_of(artifacts: Sequence[str]) -> str:
    """A pom whose only content is dependencies, given as group:artifact:version."""
    dependencies = ""
    for artifact in artifacts:
        group, name, version = (escape(part) for part in artifact.split(":"))
        dependencies += (
            f"<dependency><groupId>{group}</groupId><artifactId>{name}</artifactId>"
            f"<version>{version}</version></dependency>"
        )
    return _POM.format(dependencies=dependencies)


def cluster_id(identity: uuid.UUID) -> str:
    """A KRaft cluster id: 22 characters of URL-safe base64, which must not begin with a dash."""
    text = base64.urlsafe_b64encode(identity.bytes).decode().rstrip("=")
    return "A" + text[1:] if text.startswith("-") else text


def server_properties(ports: Ports, home: Path, password: str) -> str:
    """Configuration of one node that is broker and controller; replication 1 everywhere, for there is one node."""
    plain = f'org.apache.kafka.common.security.plain.PlainLoginModule required user_{SASL_USER}="{password}";'
    scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    listeners = {
        "PLAINTEXT": ports.kafka,
        "CONTROLLER": ports.kafka_controller,
        "SASL": ports.kafka_sasl,
        "TLS": ports.kafka_tls,
    }
    fields: dict[str, object] = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@{HOST}:{ports.kafka_controller}",
        "listeners": ",".join(f"{name}://{HOST}:{port}" for name, port in listeners.items()),
        "advertised.listeners": ",".join(
            f"{name}://{HOST}:{port}" for name, port in listeners.items() if name != "CONTROLLER"
        ),
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL:SASL_PLAINTEXT,TLS:SASL_SSL",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
        "listener.name.sasl.plain.sasl.jaas.config": plain,
        "listener.name.sasl.scram-sha-512.sasl.jaas.config": scram,
        "listener.name.tls.scram-sha-512.sasl.jaas.config": scram,
        "listener.name.tls.sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "listener.name.tls.ssl.keystore.type": "PKCS12",
        "listener.name.tls.ssl.keystore.location": home / "keystore.p12",
        "listener.name.tls.ssl.keystore.password": password,
        "log.dirs": home / "data",
        "log.segment.bytes": 67_108_864,
        "log.cleaner.dedupe.buffer.size": 16_777_216,
        "log.cleaner.backoff.ms": 1_000,  # compaction within a test's patience
        "auto.create.topics.enable": "false",  # topics come from `paramedic topics apply`
        "message.max.bytes": 8_388_608,  # the producers send up to 8 MB
        "group.initial.rebalance.delay.ms": 0,
        "offsets.topic.num.partitions": 4,
        "offsets.topic.replication.factor": 1,
        "transaction.state.log.num.partitions": 4,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
    }
    return "".join(f"{name}={value}\n" for name, value in fields.items())
