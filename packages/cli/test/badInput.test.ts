import { assert, describe, it } from "vitest"
import { blackhole, certificateFor, closedPort, inFile, ok, poolkit, serve } from "./support.ts"

/** Runs the command and takes apart the one line that it must end with. */
const failure = async (...args: ReadonlyArray<string>): Promise<string> => {
  const { status, stderr, stdout } = await poolkit(...args)
  assert.deepStrictEqual(
    { status, stdout, lines: stderr.split("\n").length },
    { status: 1, stdout: "", lines: 2 },
    stderr
  )
  return stderr.trimEnd()
}

describe.concurrent("poolkit run with wrong input", () => {
  const cases: ReadonlyArray<readonly [args: string, line: string]> = [
    ["run nonsense", `"nonsense" is not a URL to send requests to; write http://host:port/path or https://…`],
    ["run http://127.0.0.1:99999/", `"http://127.0.0.1:99999/" is not a URL to send requests to; write http://`],
    ["run ftp://127.0.0.1/", `"ftp://127.0.0.1/" is not a URL to send requests to; write http://`],
    ["run http://me:secret@127.0.0.1/", "the URL for 127.0.0.1 has a user name or password in it, which is not supp"],
    ["run --requets 5", "unknown flag --requets, did you mean --requests? (see poolkit run --help)"],
    ["rum", `unknown command "rum", did you mean run? (see poolkit --help)`],
    ["run --requests 0", `--requests is "0" but must be a whole number from 1 to 1,000,000,000 (see`],
    ["run --requests", "--requests needs a value (N) (see poolkit run --help)"],
    ["run --concurrency x", `--concurrency is "x" but must be a whole number from 1 to 100,000 (see`],
    ["run --max-connections 1.5", `--max-connections is "1.5" but must be a whole number from 1 to 10,000 (see`],
    ["run --timeout -1", `--timeout is "-1" but must be a number of seconds from 0.001 to 86400 (see`],
    ["run --duration 0", `--duration is "0" but must be a number of seconds from 0.001 to 86400 (see`],
    ["run --http1 --http2", "--http1 and --http2 exclude each other; pass one of them, or none"],
    ["run --ca /does/not/exist", "--ca: /does/not/exist cannot be read (NotFound); it must be a file with certificates"]
  ]
  for (const [args, line] of cases) {
    it(`says what is wrong with "${args}"`, async () => {
      const actual = await failure(...args.split(" "))
      assert.isTrue(actual.startsWith(`poolkit: ${line}`), actual)
      assert.notInclude(actual, "secret")
    })
  }

  it("says that a file has no certificates", async () => {
    const file = await inFile("not a certificate")
    assert.include(await failure("run", "--ca", file), `--ca: ${file} has no certificate in PEM form`)
  })
})

describe.concurrent("poolkit run with an origin that cannot be used", () => {
  it("says that the connection was refused", async () => {
    const port = await closedPort()
    assert.strictEqual(
      await failure("run", `http://127.0.0.1:${port}/`),
      `poolkit: http://127.0.0.1:${port}: the connection was refused (ECONNREFUSED); ` +
        "check that the server runs and listens there"
    )
  })

  it("says that a name does not exist", async () => {
    assert.match(
      await failure("run", "http://nobody.invalid/"),
      /^poolkit: http:\/\/nobody.invalid: the host name was not resolved \(E\w+\); check its spelling and the DNS server$/
    )
  })

  it("stops waiting for a host that drops packets when the connect deadline is over", async () => {
    const port = await blackhole()
    assert.strictEqual(
      await failure("run", `http://127.0.0.1:${port}/`, "--connect-timeout", "0.2"),
      `poolkit: http://127.0.0.1:${port}: not connected after 200ms (phase: connect); ` +
        "check the host, the port and firewalls between, or raise --connect-timeout"
    )
  })

  it("stops waiting for a TLS handshake when the connect deadline is over", async () => {
    const port = await blackhole()
    assert.include(
      await failure("run", `https://127.0.0.1:${port}/`, "--connect-timeout", "0.2"),
      "not connected after 200ms"
    )
  })

  it("says that a certificate is not trusted, and how to trust it", async () => {
    const server = await serve(ok, await certificateFor("127.0.0.1"))
    assert.strictEqual(
      await failure("run", server.url),
      `poolkit: ${server.url}: the certificate's issuer is not trusted (DEPTH_ZERO_SELF_SIGNED_CERT); ` +
        "pass it with --ca, or --insecure to skip the check"
    )
  })

  it("says that a certificate is for another name", async () => {
    const certificate = await certificateFor("127.0.0.2")
    const server = await serve(ok, certificate)
    assert.include(
      await failure("run", server.url, "--ca", await inFile(certificate.cert)),
      "the certificate is for another name (ERR_TLS_CERT_ALTNAME_INVALID); check the host, or pass --insecure"
    )
  })

  it("says that an origin does not speak TLS", async () => {
    const server = await serve(ok)
    assert.include(
      await failure("run", server.url.replace("http:", "https:")),
      "check the certificates, the protocol versions and that the port speaks TLS"
    )
  })
})
