"""``python -m prunekit``, also what ``accelerate launch -m prunekit apply ...`` runs."""

from __future__ import annotations

from .cli import main

if __name__ == "__main__":
    main()
