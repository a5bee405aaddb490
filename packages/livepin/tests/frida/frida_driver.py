"""Attaches to processes and changes them; it runs in Frida's own environment.

It reads one JSON object per line and answers each with one. `attach` is a process id. `python`
is code to run in that process; `digest` has OpenSSL give another SHA-256 than the one that it has
computed, both in hexadecimal. `detach` leaves the process as it is.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import frida

SCRIPT = """
function run(code) {
  const of = (name, result, parameters) =>
    new NativeFunction(Module.getGlobalExportByName(name), result, parameters);
  const held = of('PyGILState_Ensure', 'int', [])();
  try {
    return of('PyRun_SimpleString', 'int', ['pointer'])(Memory.allocUtf8String(code));
  } finally {
    of('PyGILState_Release', 'void', ['int'])(held);
  }
}
function bytes(text) {
  return text.match(/../g).map(each => parseInt(each, 16));
}
function intercept(seen, instead) {
  const wanted = bytes(seen);
  const library = Process.enumerateModules().find(each => each.name.startsWith('libcrypto'));
  const found = library.getExportByName('EVP_DigestFinal_ex');
  Interceptor.attach(found, {
    onEnter(parameters) { this.digest = parameters[1]; },
    onLeave() {
      const digest = new Uint8Array(this.digest.readByteArray(wanted.length));
      if (wanted.every((each, at) => each === digest[at]))
        this.digest.writeByteArray(bytes(instead));
    }
  });
  Interceptor.flush();
  return library.name;
}
rpc.exports = { run, intercept };
"""


class Driver:
    def __init__(self) -> None:
        self._session: Any = None
        self._script: Any = None

    def attach(self, process: int) -> int:
        self._session = frida.attach(process)
        self._script = self._session.create_script(SCRIPT)
        self._script.load()
        return process

    def python(self, code: str) -> int:
        return int(self._script.exports_sync.run(code))

    def digest(self, change: dict[str, str]) -> str:
        return str(self._script.exports_sync.intercept(change["seen"], change["instead"]))

    def detach(self, _: object) -> bool:
        self._session.detach()
        return True


def main() -> None:
    driver = Driver()
    for line in sys.stdin:
        ((what, about),) = json.loads(line).items()
        try:
            answer = {what: getattr(driver, what)(about)}
        except Exception as exc:
            answer = {"error": f"{type(exc).__name__}: {exc}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
