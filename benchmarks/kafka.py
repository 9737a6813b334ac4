"""The whole pipeline on Kafka, exactly once, beside the floor on Kafka: `python -m benchmarks.kafka [--rounds 5] [--partitions 1]`.

One worker process reads the raw topic and writes frames, documents, decisions, checkpoints and positions in transactions. CPU of that
process alone counts: the broker's, the publisher's and start-up do not. Each round has topics of its own, which the floor reads first.
"""

import sys

from benchmarks.brokers import a_broker, an_application
from benchmarks.rounds import Target, bench_storm, floor_rounds, last_line, parser, table
from loadtest.plan import Settings

TARGET = Target(must=2.0, aim=1.25)


def main() -> None:
    """Run the rounds and print the table; exits 1 when the target is missed."""
    command = parser(__doc__ or "")
    command.add_argument("--partitions", type=int, default=1, help="raw partitions")
    chosen = command.parse_args()
    folder = bench_storm(Settings(events=chosen.events, seed=chosen.seed))
    with a_broker() as broker:
        applications = [an_application(broker, f"round-{number}", partitions=chosen.partitions) for number in range(chosen.rounds)]

        def floor(number: int) -> tuple[int, float]:
            published = applications[number].publish(folder / "events.jsonl")
            line = last_line([sys.executable, "-m", "benchmarks.floor_kafka", broker.address, applications[number].raw, str(published)])
            return line["events"], line["cpu_s"]

        def ours(number: int) -> tuple[int, float]:
            line = applications[number].run_until_idle(folder / "topology.yaml")
            return line["events"], line["cpu_s"]

        costs = floor_rounds(chosen.rounds, floor, ours)
    print(table("kafka", costs, TARGET))
    sys.exit(TARGET.exit_code(costs.median_of_ratios))


if __name__ == "__main__":
    main()
