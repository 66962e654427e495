"""Manifests as people write them, with the programs they name: does all of it really work?"""

from __future__ import annotations

import base64
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import owned_cgroups
from tests.e2e.nsrunner import Nsrun
from tests.e2e.wild import HOST, SHELF, Wild, run
from tests.waiting import PATIENCE, eventually

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.xdist_group("wild")]

IMAGES = Path(__file__).resolve().parents[2] / "build" / "test-images"
CHECKS: dict[str, Callable[[Wild], None]] = {}


def check(function: Callable[[Wild], None]) -> Callable[[Wild], None]:
    """The check of the manifest that is called like the function."""
    CHECKS[function.__name__.replace("_", "-")] = function
    return function


@pytest.fixture(scope="module")
def images() -> Path:
    if not (IMAGES / "index.json").is_file():
        pytest.skip("no images: rootfs/build.py --set tests build/test-images makes them")
    return IMAGES


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Iterator[Nsrun]:
    """One nsrun for all of them, with every image in its store."""
    cgroup_root = owned_cgroups.new_name()
    program = Nsrun(
        base=tmp_path_factory.mktemp("wild"),
        cgroup_root=cgroup_root,
        flags=("--verbose", "--crash-loop-initial", "1s", "--image-gc-high-threshold", "100"),
    )
    program.cli("load", str(images))
    program.start()
    yield program
    program.cli("down", "--time", "0")
    remains = program.remains_of_all()
    owned_cgroups.remove(cgroup_root)
    assert remains == []
    assert "Traceback" not in program.said()


@pytest.mark.parametrize("name", sorted(path.stem for path in SHELF.glob("*.yaml")))
def test_it_runs(daemon: Nsrun, name: str) -> None:
    HOST.mkdir(exist_ok=True)
    wild = Wild(nsrun=daemon, name=name)
    try:
        CHECKS[name](wild)
    finally:
        wild.stop()


def test_there_are_enough_of_them_and_each_is_checked() -> None:
    shelf = {path.stem for path in SHELF.iterdir()}
    assert shelf == CHECKS.keys()
    assert len(shelf) >= 25


# --- web applications


@check
def nginx_php_fpm(wild: Wild) -> None:
    wild.start()
    address = wild.ready("php-app")
    assert wild.fetch(f"http://{address}:8080/some/page?q=tea") == "Hello from php-app by fpm-fcgi, tea\n"
    assert "index.php" in wild.logs("php-app", "copy-code")


@check
def wordpress_mariadb(wild: Wild) -> None:
    """Installed through its own form; what was written is still there in another pod."""
    wild.start()
    wild.ready("wordpress", 400)
    form = {
        "weblog_title": "Tea",
        "user_name": "admin",
        "admin_password": "correct horse",
        "admin_password2": "correct horse",
        "pw_weak": "on",
        "admin_email": "admin@example.org",
        "blog_public": "0",
    }
    fields = [word for name, value in form.items() for word in ("--data-urlencode", f"{name}={value}")]
    page = wild.fetch("http://127.0.0.1:8081/wp-admin/install.php?step=2", *fields)
    assert "Success!" in page
    assert "<title>Tea" in wild.fetch("http://127.0.0.1:8081/", "-L")
    wild.edit("name: wordpress\n  labels:", "name: wordpress-again\n  labels:")
    wild.ready("wordpress-again", 400)
    assert "<title>Tea" in wild.fetch("http://127.0.0.1:8081/", "-L")


@check
def haproxy_lb(wild: Wild) -> None:
    wild.start()
    wild.ready("balanced")
    seen = set[str]()
    eventually(lambda: seen.add(wild.fetch("http://127.0.0.1:8082/")) or seen == {"one\n", "two\n"})  # type: ignore[func-returns-value]
    assert "GET / HTTP/1.1" in wild.logs("balanced", "haproxy")


@check
def app_with_migrations(wild: Wild) -> None:
    wild.start()
    address = wild.ready("shop")
    assert wild.logs("shop", "migrate").splitlines()[-1] == "2"
    assert wild.fetch(f"http://{address}:8000/cgi-bin/orders") == "tea\ncake\n"
    assert wild.container("shop", "wait-for-db")["state"]["terminated"]["reason"] == "Completed"
    assert "running" in wild.container("shop", "db")["state"]


@check
def python_web_hardened(wild: Wild) -> None:
    wild.start()
    address = wild.ready("api-pod")
    assert "Directory listing" in wild.fetch(f"http://{address}:8000/")
    assert wild.container("api-pod", "api")["restartCount"] == 0


@check
def nginx_tls(wild: Wild) -> None:
    """The page changes under the running server within a second or two."""
    wild.start()
    address = wild.ready("tls-site")
    written = next(line.split()[1] for line in (SHELF / wild.file).read_text().splitlines() if "tls.crt:" in line)
    assert ssl.get_server_certificate((address, 8443)).strip() == base64.b64decode(written).decode().strip()
    assert wild.fetch(f"https://{address}:8443/", "-k") == "<h1>version 1</h1>\n"
    before = wild.container("tls-site", "nginx")
    wild.edit("version 1", "version 2")
    eventually(lambda: wild.fetch(f"https://{address}:8443/", "-k") == "<h1>version 2</h1>\n")
    assert wild.container("tls-site", "nginx") == before


@check
def two_containers_shared(wild: Wild) -> None:
    wild.start()
    address = eventually(lambda: wild.status("two-containers").get("podIP"))
    assert wild.fetch(f"http://{address}/") == "Hello from the debian container\n"
    ended = eventually(lambda: wild.container("two-containers", "debian-container")["state"].get("terminated"))
    assert ended["exitCode"] == 0


@check
def git_sync_site(wild: Wild) -> None:
    work, bare = wild.nsrun.base / "site", HOST / "site.git"
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "safe.directory=*")

    def commit(text: str) -> None:
        (work / "index.html").write_text(text)
        run("git", *identity, "-C", str(work), "add", "index.html")
        run("git", *identity, "-C", str(work), "commit", "-qm", text.strip())
        run("git", *identity, "-C", str(work), "push", "-q", "origin", "HEAD:master")

    run("git", "init", "-q", "--bare", "-b", "master", str(bare))
    run("git", "clone", "-q", str(bare), str(work))
    commit("first\n")
    wild.start()
    address = wild.ready("site")
    assert wild.fetch(f"http://{address}/") == "first\n"
    commit("second\n")
    eventually(lambda: wild.fetch(f"http://{address}/") == "second\n", seconds=60)


# --- databases and other servers


@check
def postgres_deployment(wild: Wild) -> None:
    """What was written outlives the pod, as long as the claim is there."""

    def psql(address: str, sql: str) -> str:
        url = f"postgresql://ps_user:SecurePassword@{address}/ps_db"
        return wild.ask("postgres:15", "psql", "-At", url, "-c", sql)

    wild.start()
    address = wild.ready("postgres-pod", 300)
    assert psql(address, "CREATE TABLE t (what text); INSERT INTO t VALUES ('tea')").endswith("INSERT 0 1\n")
    assert psql(address, "SELECT current_user, current_database(), what FROM t") == "ps_user|ps_db|tea\n"
    before = wild.uid("postgres-pod")
    wild.edit("memory: 512Mi", "memory: 600Mi")
    wild.replaced("postgres-pod", before)
    assert psql(wild.ready("postgres-pod", 300), "SELECT what FROM t") == "tea\n"


@check
def redis_config(wild: Wild) -> None:
    wild.start()
    address = wild.ready("redis")
    answer = wild.talk(address, 6379, "CONFIG GET maxmemory", "SET tea green", "GET tea", "QUIT")
    assert answer.split("\r\n") == [
        *("*2", "$9", "maxmemory", "$7", "2097152"),
        *("+OK", "$5", "green", "+OK", ""),
    ]


@check
def redis_statefulset(wild: Wild) -> None:
    wild.start()
    address = wild.ready("cache-pod")
    assert wild.talk(address, 6379, "SET tea green", "QUIT").startswith("+OK")
    before = wild.uid("cache-pod")
    wild.edit("failureThreshold: 30", "failureThreshold: 31")
    wild.replaced("cache-pod", before)
    assert wild.talk(wild.ready("cache-pod"), 6379, "GET tea", "QUIT").startswith("$5\r\ngreen")


@check
def mariadb_init_scripts(wild: Wild) -> None:
    wild.start()
    address = wild.ready("mariadb", 400)
    sql = "SELECT title FROM books ORDER BY id"
    answer = wild.ask("mariadb:10.11", "mariadb", f"-h{address}", "-ubooks", "-pbooks", "-N", "books", "-e", sql)
    assert answer == "Dune\nUbik\n"


@check
def memcached(wild: Wild) -> None:
    wild.start()
    address = wild.ready("memcached-pod")
    answer = wild.talk(address, 11211, "set tea 0 0 5", "green", "get tea", "stats settings", "quit")
    assert answer.startswith("STORED\r\nVALUE tea 0 5\r\ngreen\r\nEND\r\n")
    assert "STAT maxbytes 33554432" in answer


@check
def mosquitto(wild: Wild) -> None:
    """A retained message is there for whoever comes later, through the port of the host."""
    wild.start()
    wild.ready("mosquitto-pod")
    host = wild.status("mosquitto-pod")["hostIP"]
    publish = ("mosquitto_pub", "-h", host, "-t", "house/tea", "-m", "ready", "-r", "-q", "1")
    wild.ask("eclipse-mosquitto:2", *publish)
    subscribe = ("mosquitto_sub", "-h", host, "-t", "house/#", "-C", "1", "-W", "20", "-v")
    assert wild.ask("eclipse-mosquitto:2", *subscribe) == "house/tea ready\n"


@check
def registry(wild: Wild) -> None:
    """An image goes in and comes out; it is kept where the volume says."""
    wild.start()
    wild.ready("registry")
    layout = wild.nsrun.base.parent / "pushed"
    source = f"oci:{IMAGES}:docker.io/library/busybox:1.36"
    plain = ("--insecure-policy", "copy", "--dest-tls-verify=false", "--src-tls-verify=false")
    run("skopeo", *plain, source, "docker://127.0.0.1:5000/mine:1")
    assert wild.fetch("http://127.0.0.1:5000/v2/mine/tags/list").strip() == '{"name":"mine","tags":["1"]}'
    run("skopeo", *plain, "docker://127.0.0.1:5000/mine:1", f"oci:{layout}:mine")
    assert (HOST / "registry" / "docker" / "registry" / "v2" / "repositories" / "mine").is_dir()


@check
def dnsmasq(wild: Wild) -> None:
    """Names over UDP, from inside by resolv.conf and from outside by the port of the host."""
    wild.start()
    wild.ready("dnsmasq")
    assert "192.168.1.1" in wild.said("192.168.1.1", "dnsmasq", "client")
    question = bytes.fromhex("abcd01000001000000000000") + b"\x03nas\x03lan\x00" + bytes.fromhex("00010001")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(20 * PATIENCE)
        client.sendto(question, ("127.0.0.1", 5353))
        answer = client.recv(512)
    assert answer[:2] == b"\xab\xcd"
    assert answer.endswith(bytes([192, 168, 1, 10]))


@check
def node_exporter(wild: Wild) -> None:
    """Sees the host: its links, its processes, its disks."""
    with mounts_shared("/", "/sys"):  # as systemd leaves them
        _see_the_host(wild)


@contextmanager
def mounts_shared(*mounts: str) -> Iterator[None]:
    for mount in mounts:
        run("mount", "--make-shared", mount)
    try:
        yield
    finally:
        for mount in mounts:
            run("mount", "--make-private", mount)


def _see_the_host(wild: Wild) -> None:
    wild.start()
    assert wild.ready("node-exporter-pod") == wild.status("node-exporter-pod")["hostIP"]
    metrics = wild.fetch("http://127.0.0.1:9100/metrics")
    assert "node_network_info{address=" in metrics
    assert 'device="nsrun0"' in metrics
    assert "node_filesystem_size_bytes" in metrics
    total = next(line.split()[1] for line in metrics.splitlines() if line.startswith("node_memory_MemTotal_bytes "))
    memory = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    assert float(total) == int(memory.split()[1]) * 1024


@check
def cronish_backup(wild: Wild) -> None:
    wild.start()
    address = wild.ready("db-with-backup")
    eventually(lambda: wild.talk(address, 6379, "GET started", "QUIT").startswith("$3\r\nyes"))
    wild.said("saved", "db-with-backup", "backup")
    assert (HOST / "backup" / "dump.rdb").read_bytes().startswith(b"REDIS")


# --- logs


@check
def counter_streaming_sidecars(wild: Wild) -> None:
    wild.start()
    wild.ready("counter")
    one = wild.said("\n2: ", "counter", "count-log-1").splitlines()
    assert [line.partition(":")[0] for line in one[:3]] == ["0", "1", "2"]
    two = wild.said("INFO 2", "counter", "count-log-2").splitlines()
    assert [line.rpartition(" ")[2] for line in two[:3]] == ["0", "1", "2"]


@check
def log_shipper_sidecar(wild: Wild) -> None:
    wild.start()
    wild.ready("myapp-pod")
    wild.said("logging\nlogging\n", "myapp-pod", "logshipper")
    assert wild.container("myapp-pod", "logshipper")["started"] is True


# --- what runs once


@check
def job_with_sidecar(wild: Wild) -> None:
    wild.start()
    wild.ended("report-pod")
    assert wild.logs("report-pod", "report").splitlines() == ["OK", "the answer is 42"]
    eventually(lambda: "terminated" in wild.container("report-pod", "cache")["state"])


@check
def job_pi(wild: Wild) -> None:
    wild.start()
    wild.ended("pi-pod")
    assert wild.logs("pi-pod").strip() == (
        "3.1415926535897932384626433832795028841971693993751058209749445923078164062862089986280348253421170679"
    )


@check
def job_retries(wild: Wild) -> None:
    wild.start()
    wild.ended("flaky-pod")
    assert wild.logs("flaky-pod") == "done\n"
    found = wild.container("flaky-pod", "flaky")
    assert found["restartCount"] == 1
    assert wild.logs("flaky-pod", "", "default", "--previous") == "first time fails\n"


@check
def hello_one_shot(wild: Wild) -> None:
    wild.start()
    wild.ended("hello")
    assert wild.logs("hello").splitlines()[-1] == "Hello from the Kubernetes cluster"


# --- what a pod is told


@check
def downward_api_env(wild: Wild) -> None:
    wild.start()
    address = wild.ready("dapi-envars")
    host = wild.status("dapi-envars")["hostIP"]
    node = socket.gethostname().lower()
    log = wild.said("125 1 64\n", "dapi-envars").split()
    expected = [node, "dapi-envars", "default", address, host, "us-east-coast", "two", "125", "1", "64"]
    assert [word for word in log[:11] if word != "default"] == [word for word in expected if word != "default"]


@check
def downward_api_volume(wild: Wild) -> None:
    name = "kubernetes-downwardapi-volume-example"
    wild.start()
    wild.ready(name)
    log = wild.said('zone="us-est-coast"', name)
    assert 'cluster="test-cluster1"\nrack="rack-22"\nzone="us-est-coast"' in log
    before = wild.container(name, "client-container")
    assert 'build="two"\nbuilder="john-doe"' in wild.logs(name)
    assert before["restartCount"] == 0


@check
def projected_all_in_one(wild: Wild) -> None:
    wild.start()
    wild.ready("volume-test")
    log = wild.said("username", "volume-test")
    assert "== ./my-group/my-username 777\nadmin\n" in log
    assert "== ./my-group/my-config 440\ndebug = false\n" in log
    assert '== ./labels 440\napp="volume-test"\n' in log
    assert "== ./cpu_limit 440\n" in log


@check
def configmap_env(wild: Wild) -> None:
    wild.start()
    wild.ready("configmap-demo-pod")
    log = wild.said("allow.textmode", "configmap-demo-pod").splitlines()
    assert log[0] == "hello world 3 user-interface.properties"
    assert log[-4:] == [
        "enemy.types=aliens,monsters",
        "player.maximum-lives=5",
        "color.good=purple",
        "allow.textmode=true",
    ]


@check
def hosts_and_dns(wild: Wild) -> None:
    wild.start()
    status = wild.ended("hostaliases-pod")
    log = wild.logs("hostaliases-pod")
    name = "busybox-1.busybox-subdomain.default.svc.cluster.local"
    assert f"{status['podIP']}\t{name}\tbusybox-1\n" in log
    assert "127.0.0.1\tfoo.local\tbar.local\n10.1.2.3\tfoo.remote\tbar.remote\n" in log
    assert (
        "nameserver 192.0.2.1\nsearch ns1.svc.cluster-domain.example my.dns.search.suffix\noptions ndots:2 edns0\n"
    ) in log
    assert log.splitlines()[-1] == name


# --- what a pod may do


@check
def security_context_demo(wild: Wild) -> None:
    wild.start()
    wild.ready("security-context-demo")
    log = wild.said("NoNewPrivs", "security-context-demo")
    assert log.startswith("uid=1000 gid=3000 groups=")
    assert {"2000", "4000"} <= set(log.splitlines()[0].rpartition("=")[2].split(","))
    assert log.splitlines()[1].split()[2:4] == ["1000", "2000"]
    assert log.splitlines()[2].split() == ["NoNewPrivs:", "1"]


@check
def shared_process_namespace(wild: Wild) -> None:
    wild.start()
    wild.ready("debug-shared")
    log = wild.said("user www-data;", "debug-shared", "shell")
    assert "nginx: master process" in log
    assert "pause" in log


@check
def resource_guaranteed(wild: Wild) -> None:
    """Asks for more than its limit, and is killed for it."""
    wild.start()
    status = wild.ended("memory-demo", "Failed")
    assert status["qosClass"] == "Guaranteed"
    ended = wild.container("memory-demo", "stress")["state"]["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)


@check
def liveness_exec(wild: Wild) -> None:
    wild.start()
    eventually(lambda: wild.container("liveness-exec", "liveness").get("restartCount", 0) >= 1, seconds=90)
    assert "Container liveness failed liveness probe, will be restarted" in wild.nsrun.said()


@check
def podman_generated(wild: Wild) -> None:
    (HOST / "generated").mkdir()
    (HOST / "generated" / "index.html").write_text("from the host\n")
    wild.start()
    wild.ready("generated")
    assert wild.fetch("http://127.0.0.1:8083/") == "from the host\n"
