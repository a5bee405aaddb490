"""livepin export okhttp: OkHttp compiles the code, and refuses what it does not pin."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from livepin.testing import RecordingServer, make_authority, make_chain, pin_of

# Every name is on loopback. What is fetched is printed: its URL, then a status or an exception.
PROGRAM = """
import java.io.FileInputStream;
import java.net.InetAddress;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.Collections;
import javax.net.ssl.*;
import okhttp3.*;

public class Fetch {
    public static void main(String[] arguments) throws Exception {
%s
        KeyStore trusted = KeyStore.getInstance(KeyStore.getDefaultType());
        trusted.load(null, null);
        try (FileInputStream file = new FileInputStream(arguments[0])) {
            trusted.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(file));
        }
        TrustManagerFactory factory = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        factory.init(trusted);
        X509TrustManager manager = (X509TrustManager) factory.getTrustManagers()[0];
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, new TrustManager[] {manager}, null);
        OkHttpClient client = new OkHttpClient.Builder()
            .certificatePinner(pinner)
            .sslSocketFactory(context.getSocketFactory(), manager)
            .dns(name -> Collections.singletonList(InetAddress.getByName("127.0.0.1")))
            .proxy(java.net.Proxy.NO_PROXY)
            .build();
        for (int i = 1; i < arguments.length; i++) {
            String found;
            try (Response response = client.newCall(new Request.Builder().url(arguments[i]).build()).execute()) {
                found = String.valueOf(response.code());
            } catch (SSLException refused) {
                found = refused.getMessage().split("\\n")[0];
            }
            System.out.println(arguments[i] + " " + found);
        }
        System.exit(0);
    }
}
"""  # noqa: E501
REFUSED = "Certificate pinning failure!"
PIN = "sha256/" + "A" * 43 + "="
HOSTS = ("localhost", "127.0.0.1")


@pytest.fixture
def okhttp(counterpart, ca):
    """Compile an exported text into a client of OkHttp; return what becomes of each URL."""
    java = Path(counterpart("javac")).with_name("java")
    classes = counterpart("okhttp.jar"), counterpart("okio.jar")

    def one(exported: str, *urls: str) -> dict[str, str]:
        Path("Fetch.java").write_text(PROGRAM % exported)
        done = subprocess.run(
            [java, "-cp", ":".join(classes), "Fetch.java", str(ca), *urls],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return dict(line.split(" ", 1) for line in done.stdout.splitlines())

    return one


def at(server: RecordingServer, host: str) -> str:
    """Return the URL of a host that a server stands for."""
    return f"https://{host}:{server.port}/"


def test_okhttp_connects_by_the_exported_pins_and_refuses_another_key(
    run, data, api, chain, authority, endpoint, okhttp
) -> None:
    for host in (*HOSTS, "2001:db8::5"):  # which OkHttp 3 takes in brackets only
        run("domain", "add", host, "--pin", chain.pin)
    run("pin", "new-backup", "localhost", "--out", "b.key")
    backup = load_pem_private_key(Path("b.key").read_bytes(), None)
    changed = endpoint(make_chain("localhost", authority=authority, key=backup))
    untrusted = endpoint(make_chain("localhost", authority=make_authority(), key=backup))
    wrong = endpoint(make_chain(*HOSTS, authority=authority))

    found = okhttp(
        run("export", "okhttp").out,
        *(at(server, host) for server in (api, wrong) for host in HOSTS),
        at(changed, "localhost"),
        at(untrusted, "localhost"),
    )
    assert "valid certification path" in found.pop(at(untrusted, "localhost"))
    assert found == {
        **{at(api, host): "200" for host in HOSTS},
        **{at(wrong, host): REFUSED for host in HOSTS},
        at(changed, "localhost"): "200",
    }
    assert wrong.requests == untrusted.requests == 0


def test_okhttp_matches_any_key_of_the_verified_chain(run, data, api, chain, okhttp) -> None:
    issuer = pin_of(chain.presented[1])
    run("domain", "add", "localhost", "--pin", issuer)
    assert okhttp(run("export", "okhttp").out, at(api, "localhost")) == {
        at(api, "localhost"): "200"
    }


def test_an_okhttp_that_is_too_old_takes_a_wildcard_and_pins_nothing_as_the_export_says(
    run, data, api, counterpart, okhttp
) -> None:
    for pattern in ("example.test", "*.example.test"):
        run("domain", "add", pattern, "--pin", PIN)
    exported = run("export", "okhttp")
    [jar] = Path(counterpart("okhttp.jar")).parent.glob("okhttp-[0-9]*.jar")
    version = tuple(map(int, jar.stem.removeprefix("okhttp-").split(".")))
    host = at(api, "a.example.test")
    assert okhttp(exported.out, host) == {host: "200" if version < (4, 3) else REFUSED}
    assert "before 4.3 takes **.example.test and pins nothing" in exported.err
