"""The user's own Python, named on a command line."""

from __future__ import annotations

import contextlib
import importlib
import sys
from typing import Any

from bitting.errors import BittingError


def call(option: str, name: str, allowed: str, error: type[BittingError]) -> Any:
    """What `module:function` gives, found as Python finds modules, the working folder first.

    What it prints goes to standard error: standard output is for results, which programs read.

    Args:
        option: of the command line, for messages.
        name: `module:function`; a class is called like a function.
        allowed: what is said to be allowed if there is none of this name.
        error: what is raised, with one line, for all that goes wrong.
    """
    module_name, _, function_name = name.partition(":")
    sys.path.insert(0, "")
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return getattr(importlib.import_module(module_name), function_name)()
    except (ImportError, AttributeError) as problem:
        raise error(f"{option} {name}: {problem}; allowed: {allowed}") from None
    except BittingError:
        raise
    except (Exception, SystemExit) as problem:  # the user's own code may raise anything
        raise error(f"{option} {name}: it raised {type(problem).__name__}: {problem}") from None
    finally:
        sys.path.remove("")
