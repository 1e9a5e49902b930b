"""The wheel carries the library, built before by `make wheel`, so it is for one platform and for every Python 3."""

from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel


class Platform(bdist_wheel):
    def run(self) -> None:
        package = Path(__file__).parent / "src/redmux"
        if not any((package / name).exists() for name in ("libredmux.so", "libredmux.dylib")):
            raise SystemExit("there is no library in src/redmux: build the wheel with `make wheel` in redmux' checkout")
        super().run()

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


class Carrying(Distribution):
    def has_ext_modules(self) -> bool:
        return True


setup(distclass=Carrying, cmdclass={"bdist_wheel": Platform})
