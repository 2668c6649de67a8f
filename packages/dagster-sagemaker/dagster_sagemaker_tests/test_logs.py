"""CloudWatch lines in Dagster's compute log: every one, once, in order, for few calls."""

from __future__ import annotations

import re

import pytest
from dagster import RetryPolicy

from dagster_sagemaker import Pacing
from dagster_sagemaker.calls import Calls, Transient
from dagster_sagemaker.folder import Progress
from dagster_sagemaker.logs import LogFollower
from dagster_sagemaker.pacing import Window
from dagster_sagemaker_tests.conftest import messages, processing, training
from dagster_sagemaker_tests.fake_aws import (
    CLOSED,
    OPENED,
    THROTTLED,
    completes,
    materialised,
    refusal,
)
from dagster_sagemaker_tests.test_adoption import killed


def chatty(run=100.0, hosts=1, late=True):
    """A line every four seconds from every host, and one more as the job ends."""

    def script(aws, job):
        completes(run=run, tail=2)(aws, job)
        for host in range(1, hosts + 1):
            for second in range(2, int(run), 4):
                aws.at(second, lambda h=host, s=second: aws.say(job, f"h{h} s{s:03}", host=f"algo-{h}-17{h}"))
            if late:
                aws.at(run + 1.9, lambda h=host: aws.say(job, f"h{h} end", host=f"algo-{h}-17{h}"))

    return script


def lines(capfd):
    return re.findall(r"h\d (?:s\d+|end)", capfd.readouterr().out)


def wanted(hosts=1, run=100):
    return [f"h{h} s{s:03}" for s in range(2, run, 4) for h in range(1, hosts + 1)] + [
        f"h{h} end" for h in range(1, hosts + 1)
    ]


def test_each_line_is_shown_once_when_it_arrives(runner, capfd):
    runner.aws.scripts = [chatty()]
    runner.aws.at(60, lambda: print("MIDDLE"))
    assert runner.run(training(), follow_logs=True).success
    shown = capfd.readouterr().out
    assert re.findall(r"h\d (?:s\d+|end)", shown) == wanted()
    assert 5 < len(re.findall(r"h1 s", shown.partition("MIDDLE")[0])) < 20


def test_three_streams_are_interleaved_by_time_and_named(runner, capfd):
    runner.aws.scripts = [chatty(hosts=3)]
    assert runner.run(training(instance_count=3), follow_logs=True).success
    shown = capfd.readouterr().out
    assert sorted(re.findall(r"h\d (?:s\d+|end)", shown)) == sorted(wanted(hosts=3))
    assert "[algo-2] h2 s" in shown


def test_short_and_empty_pages_lose_no_lines(runner, capfd):
    runner.aws.page = 2
    runner.aws.scripts = [chatty()]
    assert runner.run(training(), follow_logs=True).success
    assert lines(capfd) == wanted()


def test_running_job_takes_at_most_six_log_calls_a_minute(runner):
    runner.aws.scripts = [chatty(run=600, hosts=3)]
    assert runner.run(training(instance_count=3), follow_logs=True).success
    times = [time for time, call in runner.aws.log if call.startswith("log_") and time < 600]
    assert min(later - earlier for earlier, later in zip(times, times[6:], strict=False)) > 59.9


def test_training_job_takes_fewer_log_calls_than_airflow(runner):
    runner.aws.scripts = [chatty(run=60)]
    assert runner.run(training(), follow_logs=True).success
    assert runner.aws.calls["log_streams"] + runner.aws.calls["log_events"] <= 12
    assert runner.aws.calls["describe"] <= 7


def test_no_log_calls_are_made_without_follow_logs(runner):
    runner.aws.scripts = [chatty()]
    assert runner.run(follow_logs=False).success
    assert not runner.aws.calls["log_streams"] + runner.aws.calls["log_events"]


def test_lines_of_a_failed_job_are_shown(runner, capfd):
    def broken(aws, job):
        aws.at(1, lambda: aws.start(job))
        aws.at(5, lambda: aws.say(job, "h1 s005"))
        aws.at(6, lambda: aws.end(job, "Failed", FailureReason="AlgorithmError: exit code: 1"))

    runner.aws.scripts = [broken]
    runner.failure(follow_logs=True)
    assert lines(capfd) == ["h1 s005"]


def test_unreadable_logs_do_not_fail_a_job(runner):
    runner.aws.faults = {"log_streams": [refusal("AccessDeniedException")] * 20}
    runner.aws.scripts = [chatty()]
    assert runner.run(follow_logs=True).success


@pytest.mark.parametrize("seconds", [50, 400])
def test_adopter_shows_all_lines_of_its_job(runner, capfd, seconds):
    runner.aws.scripts = [chatty()]
    parent = killed(runner, 50, follow_logs=True)
    runner.aws.until(seconds)
    lines(capfd)
    assert runner.retry(parent, follow_logs=True).success
    assert lines(capfd) == wanted()


@pytest.mark.parametrize("word", ["Interrupted", "Restarting"])
@pytest.mark.parametrize("at", [6, 40])
def test_stream_of_a_restarted_container_is_shown(runner, capfd, word, at):
    """Before the first look at the streams, or after it; after a spot interruption, or by a retry strategy."""

    def interrupted(aws, job):
        aws.at(1, lambda: (aws.start(job), aws.write(job, 1, OPENED)))
        aws.at(5, lambda: aws.say(job, "h1 s005", host="algo-1-1"))
        aws.at(at, lambda: (aws.write(job, 2, CLOSED), aws.step(job, word)))
        aws.at(90, lambda: (aws.step(job, "Training"), aws.write(job, 1, OPENED)))
        aws.at(95, lambda: aws.say(job, "h1 s095", host="algo-1-2"))
        aws.at(120, lambda: aws.write(job, 2, materialised(), CLOSED))
        aws.at(121, lambda: aws.end(job, "Completed"))

    runner.aws.scripts = [interrupted]
    assert runner.run(training(spot=True), follow_logs=True).success
    assert lines(capfd) == ["h1 s005", "h1 s095"]


def test_adopter_of_an_interrupted_job_shows_lines_of_both_containers(runner, capfd):
    def interrupted(aws, job):
        aws.at(1, lambda: (aws.start(job), aws.write(job, 1, OPENED)))
        aws.at(5, lambda: aws.say(job, "h1 s005", host="algo-1-1"))
        aws.at(40, lambda: aws.step(job, "Interrupted"))
        aws.at(300, lambda: (aws.step(job, "Training"), aws.write(job, 1, OPENED)))
        aws.at(305, lambda: aws.say(job, "h1 s305", host="algo-1-2"))
        aws.at(400, lambda: aws.write(job, 2, materialised(), CLOSED))
        aws.at(401, lambda: aws.end(job, "Completed"))

    runner.aws.scripts = [interrupted]
    parent = killed(runner, 30, training(spot=True), follow_logs=True)
    runner.aws.until(100)
    lines(capfd)
    assert runner.retry(parent, training(spot=True), follow_logs=True).success
    assert lines(capfd) == ["h1 s005", "h1 s305"]


def follower(aws, seen, shown):
    return LogFollower(
        aws, Calls(), "/aws/sagemaker/TrainingJobs", "job", 1, seen, Window(6, 60), write=shown.append
    )


def drain(following):
    """All pages, as the client reads them."""
    following.drain(0.0)
    while following.has_more:
        following.drain(0.0)


def test_same_run_continues_its_log_with_an_old_token(runner):
    shown: list[str] = []
    key = "/aws/sagemaker/TrainingJobs:job/algo-1-1"
    runner.aws.streams[key] = [(1, "a"), (2, "b"), (2, "c")]
    seen = Progress("run", 0)
    drain(follower(runner.aws, seen, shown))
    runner.aws.streams[key] += [(2, "d"), (3, "e")]
    drain(follower(runner.aws, seen, shown))
    seen.streams["job/algo-1-1"]["token"] = "f/expired/1"
    runner.aws.streams[key] += [(4, "f")]
    drain(follower(runner.aws, seen, shown))
    assert "".join(shown).split() == ["a", "b", "c", "d", "e", "f"]


def test_lines_of_a_restarted_container_follow_those_before(runner):
    shown: list[str] = []
    runner.aws.page = 1
    runner.aws.streams |= {
        "/aws/sagemaker/TrainingJobs:job/algo-1-1": [(1, "a"), (2, "b"), (3, "c")],
        "/aws/sagemaker/TrainingJobs:job/algo-1-2": [(4, "d"), (5, "e")],
    }
    following = follower(runner.aws, Progress("run", 0), shown)
    for minute in range(10):
        following.look(60.0 * minute)
    assert "".join(shown).split() == ["a", "b", "c", "d", "e"]
    calls = runner.aws.calls["log_events"]
    following.look(600.0)
    assert runner.aws.calls["log_events"] == calls + 1, "one stream is left to look at"


def test_lines_of_parallel_jobs_are_labelled(runner, capfd):
    runner.aws.scripts = [chatty(), chatty()]
    jobs = [processing(key="first"), processing(key="second")]
    assert runner.run(*jobs, at_once=2, follow_logs=True).success
    shown = capfd.readouterr().out
    assert "[first] h1 s002" in shown
    assert "[second] h1 s002" in shown


def test_retry_in_the_run_shows_only_new_lines(runner, capfd):
    """Describe is throttled until the step gives up; Dagster's retry policy starts it again, in the same run."""
    runner.aws.scripts = [chatty(run=400)]
    runner.aws.at(100, lambda: runner.aws.faults.update(describe=[THROTTLED] * 6))
    pacing = Pacing(retry_patience=60)
    assert runner.run(
        training(), follow_logs=True, pacing=pacing, retry_policy=RetryPolicy(max_retries=2)
    ).success
    assert len(runner.aws.jobs) == 1
    assert lines(capfd) == wanted(run=400)


@pytest.mark.parametrize("run", [10, 100])
def test_client_waits_for_late_lines_after_a_success(runner, capfd, run):
    runner.aws.log_lag = 8.0
    runner.aws.scripts = [chatty(run=run)]
    assert runner.run(training(), follow_logs=True).success
    assert lines(capfd) == wanted(run=run)


def test_success_with_prompt_lines_is_noticed_within_five_seconds(runner):
    runner.aws.log_lag = 1.0
    runner.aws.scripts = [chatty()]
    assert runner.run(training(), follow_logs=True).success
    assert runner.returned_at - 102 <= 5


def test_silent_container_is_logged_after_some_seconds(runner):
    runner.aws.scripts = [completes(run=100, tail=2)]
    result = runner.run(training(), follow_logs=True)
    assert result.success
    assert runner.returned_at - 102 <= 15
    assert "0 of the 1 containers of loads-" in messages(result, runner.instance)
    assert "logsV2:log-groups" in messages(result, runner.instance)


@pytest.mark.parametrize("late", [5, 11])
def test_only_lines_of_a_success_are_awaited(runner, capfd, late):
    runner.aws.log_lag = late
    runner.aws.scripts = [says_at_the_end]
    result = runner.run(training(), follow_logs=True)
    assert lines(capfd) == ["h1 end"]
    assert "have log lines" not in messages(result, runner.instance)


def says_at_the_end(aws, job):
    completes(run=100, tail=2)(aws, job)
    aws.at(101.9, lambda: aws.say(job, "h1 end"))


def test_host_without_log_lines_is_reported(runner, capfd):
    runner.aws.scripts = [says_at_the_end]
    result = runner.run(training(instance_count=2), follow_logs=True)
    assert lines(capfd) == ["h1 end"]
    assert "1 of the 2 containers" in messages(result, runner.instance)


def seen_failing(aws, job):
    """Closes Pipes and fails, so that its end is seen at once."""
    completes(run=99, tail=500)(aws, job)
    aws.at(100, lambda: aws.end(job, "Failed", FailureReason="AlgorithmError: exit code: 1"))


def test_late_traceback_of_a_failure_is_shown(runner, capfd):
    def broken(aws, job):
        seen_failing(aws, job)
        aws.at(40, lambda: aws.say(job, "h1 s040"))
        aws.at(90, lambda: setattr(aws, "log_lag", 8.0))
        aws.at(98, lambda: aws.say(job, "h1 s098"))
        aws.at(100, lambda: aws.say(job, "h1 end"))

    runner.aws.log_lag = 1.0
    runner.aws.scripts = [broken]
    runner.failure(training(), follow_logs=True)
    assert lines(capfd) == ["h1 s040", "h1 s098", "h1 end"]


def test_lines_after_a_failure_are_followed_for_half_a_minute(runner, capfd):
    def broken(aws, job):
        aws.at(1, lambda: aws.start(job))
        aws.at(50, lambda: aws.end(job, "Failed", FailureReason="AlgorithmError: exit code: 1"))
        for second in range(51, 500, 7):
            aws.at(second, lambda s=second: aws.say(job, f"h1 s{s:03}"))

    runner.aws.scripts = [broken]
    runner.failure(training(), follow_logs=True)
    assert runner.returned_at <= 50 + 30 + 1
    assert lines(capfd)[:4] == ["h1 s051", "h1 s058", "h1 s065", "h1 s072"]


def test_late_lines_take_no_more_calls_than_a_running_job(runner):
    runner.aws.scripts = [seen_failing]
    runner.failure(training(), follow_logs=True)
    times = [time for time, call in runner.aws.log if call.startswith("log_")]
    assert times[-1] - 100 > 10
    assert all(later - earlier >= 59.9 for earlier, later in zip(times, times[6:], strict=False))


def many(aws, hosts=1, lines=100_000):
    for host in range(1, hosts + 1):
        stream = f"/aws/sagemaker/TrainingJobs:job/algo-{host}-1"
        aws.streams[stream] = [(second, f"h{host} {second:06}") for second in range(lines)]


def test_pages_are_shown_one_by_one(runner):
    shown: list[str] = []
    many(runner.aws, lines=5_500)
    runner.aws.page = 1_000
    drain(follower(runner.aws, Progress("run", 0), shown))
    assert [text.count("\n") for text in shown] == [1_000] * 5 + [500]
    assert "".join(shown).split()[1::2] == [f"{second:06}" for second in range(5_500)]


@pytest.mark.parametrize("hosts", [1, 3])
def test_last_lines_are_shown_after_omitted_ones(runner, hosts):
    shown: list[str] = []
    many(runner.aws, hosts)
    runner.aws.page = 1_000
    following = follower(runner.aws, Progress("run", 0), shown)
    following.hosts = following.expected = hosts
    following.link = "https://console.example.org"
    drain(following)
    text = "".join(shown)
    assert 20_000 <= text.count("\n") <= 20_000 + hosts * 2_000 + 1
    first, _, last = text.partition("Lines are omitted here. All lines: https://console.example.org\n")
    assert "000001" in first
    for host in range(1, hosts + 1):
        assert last.count(f"h{host} ") == 1_000 and f"h{host} 099999\n" in last
    for host in range(1, hosts + 1):
        runner.aws.streams[f"/aws/sagemaker/TrainingJobs:job/algo-{host}-1"].append((100_000, "late"))
    drain(following)
    assert "".join(shown).count("late\n") == hosts


def test_interrupted_drain_continues_where_it_was(runner):
    shown: list[str] = []
    many(runner.aws, lines=3_000)
    runner.aws.page = 1_000
    seen = Progress("run", 0)
    follower(runner.aws, seen, shown).drain(0.0)
    runner.aws.faults = {"log_events": [THROTTLED]}
    following = follower(runner.aws, seen, shown)
    with pytest.raises(Transient):
        following.drain(0.0)
    drain(following)
    assert "".join(shown).split()[1::2] == [f"{second:06}" for second in range(3_000)]


def test_retry_of_the_step_does_not_show_drained_lines_again(runner, capfd):
    """The step is killed after its first page of the last lines, and starts again in the same run."""

    def script(aws, job):
        completes(run=100, tail=2)(aws, job)
        for second in range(50):
            aws.at(101.5, lambda s=second: aws.say(job, f"h1 s{s:03}"))

    runner.aws.scripts, runner.aws.page = [script], 10
    runner.aws.at(101, lambda: runner.aws.faults.update(log_events=[None, None, None, interrupt]))
    result = runner.run(training(), follow_logs=True, retry_policy=RetryPolicy(max_retries=1))
    assert result.success
    assert lines(capfd) == [f"h1 s{second:03}" for second in range(50)]


def interrupt():
    raise RuntimeError("the step is interrupted")
