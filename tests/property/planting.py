"""Plants a bug in a module for the length of a test, to see whether the tests notice."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType, FunctionType, ModuleType


@contextmanager
def planted(module: ModuleType, old: str, new: str) -> Iterator[None]:
    """Gives the module's functions the code they would have with ``old`` replaced by ``new``.

    The functions stay the same objects, so that tables and imports elsewhere see the bug too.
    """
    source = inspect.getsource(module)
    assert source.count(old) == 1, f"{old!r} stands {source.count(old)} times in {module.__name__}"
    changed = compile(source.replace(old, new), module.__file__ or "", "exec", dont_inherit=True)
    codes = dict(_codes(changed))
    kept = []
    for function in _functions(module):
        code = codes[function.__qualname__]
        if (
            code.co_code != function.__code__.co_code
            or code.co_consts != function.__code__.co_consts
        ):
            kept.append((function, function.__code__))
            function.__code__ = code
    assert kept, f"{new!r} changes no function"
    try:
        yield
    finally:
        for function, code in kept:
            function.__code__ = code


def _codes(code: CodeType) -> Iterator[tuple[str, CodeType]]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant.co_qualname, constant
            yield from _codes(constant)


def _functions(module: ModuleType) -> Iterator[FunctionType]:
    # What a decorator or msgspec generated has no source of ours.
    names = {name for name, _ in _codes(compile(inspect.getsource(module), "", "exec"))}
    for value in vars(module).values():
        if isinstance(value, FunctionType) and value.__module__ == module.__name__:
            yield value
        elif isinstance(value, type) and value.__module__ == module.__name__:
            for member in vars(value).values():
                function = member.fget if isinstance(member, property) else member
                function = getattr(function, "__func__", function)
                if isinstance(function, FunctionType) and function.__qualname__ in names:
                    yield function
