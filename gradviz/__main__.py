"""The command `gradviz`, and `python -m gradviz`."""

from gradviz.cli.process import prepare_process


def main() -> None:
    """Run the command line."""
    prepare_process()
    # Only now: this takes long enough to be interrupted.
    from gradviz.cli.app import main

    main()


if __name__ == "__main__":
    main()
