import { assert, describe, it } from "vitest"
import { certificateFor, complaints, inFile, ok, poolkit, type Result, serve, silent, table } from "./support.ts"

/** Of each row: scheme and host, protocol, connections, requests, reuse, errors. */
const summary = (result: Result) =>
  table(result).map(([origin, protocol, opened, requests, reuse, , , , , errors]) => [
    origin!.replace(/\d+$/, ""),
    protocol,
    opened,
    requests,
    reuse,
    errors
  ])

describe.concurrent("poolkit", () => {
  it("shows help and its version", async () => {
    for (const [args, text] of [
      [["--help"], "Send requests through connection pools and measure"],
      [["run", "--help"], "--max-connections N"],
      [["--version"], "poolkit v"]
    ] as const) {
      const result = await poolkit(...args)
      assert.include(result.stdout, text)
      assert.deepStrictEqual({ status: result.status, stderr: result.stderr }, { status: 0, stderr: "" })
    }
  })
})

describe.concurrent("poolkit run", () => {
  it("sends requests to three origins of its own", async () => {
    const result = await poolkit("run", "--requests", "600")
    assert.strictEqual(result.status, 0, result.stderr)
    assert.deepStrictEqual(summary(result), [
      ["http://127.0.0.1:", "http/1.1", "10", "200", "20.0", "0"],
      ["https://127.0.0.1:", "http/1.1", "10", "200", "20.0", "0"],
      ["https://127.0.0.1:", "h2", "1", "200", "200", "0"]
    ])
    for (const row of table(result)) {
      const [p50, p90, p99, max] = row.slice(5, 9).map((cell) => Number(cell.replace(",", "")))
      assert.isTrue(0 < p50! && p50! <= p90! && p90! <= p99! && p99! <= max!, row.join(" "))
    }
    assert.match(result.stdout, /\n600 requests in [\d.]+ s, [\d,]+ requests\/s, 0 failed\n$/)
    assert.isTrue(
      result.stdout.split("\n").every((line) => line.length <= 120),
      result.stdout
    )
  })

  it("speaks only HTTP/1.1 with --http1, only HTTP/2 with --http2, over plain TCP too", async () => {
    const only = async (flag: string) =>
      summary(await poolkit("run", flag, "--requests", "60")).map(([origin, protocol]) => [origin, protocol])
    assert.deepStrictEqual(await only("--http1"), [
      ["http://127.0.0.1:", "http/1.1"],
      ["https://127.0.0.1:", "http/1.1"],
      ["https://127.0.0.1:", "http/1.1"]
    ])
    assert.deepStrictEqual(await only("--http2"), [
      ["http://127.0.0.1:", "h2"],
      ["https://127.0.0.1:", "h2"]
    ])
  })

  it("opens further HTTP/2 connections, up to its limit, when the streams of one are taken", async () => {
    const flags = ["--http2", "--requests", "2000", "--concurrency", "450", "--max-connections", "2"]
    const result = await poolkit("run", ...flags)
    assert.strictEqual(result.status, 0, result.stderr)
    assert.deepStrictEqual(
      summary(result).map((row) => row.slice(1, 4)),
      [
        ["h2", "2", "1,000"],
        ["h2", "2", "1,000"]
      ]
    )
  })

  it("runs for as long as it is told, and says in JSON what came of it", async () => {
    const server = await serve(ok)
    const result = await poolkit("run", server.url, "--duration", "0.5", "--json", "--max-connections", "3")
    assert.strictEqual(result.status, 0, result.stderr)
    const { duration, failed, origins, requests } = JSON.parse(result.stdout) as Record<string, any>
    assert.isTrue(500 <= duration && duration < 5_000, result.stdout)
    assert.deepStrictEqual([requests, failed], [server.requests(), 0])
    assert.deepInclude(origins[0], {
      origin: server.url,
      protocols: ["http/1.1"],
      connectionsOpened: 3,
      requests,
      statuses: { 200: requests }
    })
  })

  it("says why connections were evicted", async () => {
    const server = await serve((request, response) => {
      if (server.requests() % 10 === 0) response.setHeader("connection", "close")
      ok(request, response)
    })
    const result = await poolkit("run", server.url, "--requests", "100", "--concurrency", "1")
    assert.strictEqual(result.status, 0, result.stderr)
    assert.include(result.stdout, `  ${server.url}: 10 × evicted (closed)\n`)
  })

  it("spreads requests over URLs and has one pool for each origin", async () => {
    const paths: Array<string> = []
    const one = await serve((request, response) => {
      paths.push(request.url!)
      ok(request, response)
    })
    const two = await serve(ok)
    const args = ["--requests", "300", "--concurrency", "20", "--max-connections", "4"]
    const result = await poolkit("run", `${one.url}/a?b=c`, `${one.url}/d`, two.url, ...args)
    assert.strictEqual(result.status, 0, result.stderr)
    assert.deepStrictEqual(
      table(result).map((row) => row.slice(0, 5)),
      [
        [one.url, "http/1.1", "4", "200", "50.0"],
        [two.url, "http/1.1", "4", "100", "25.0"]
      ]
    )
    assert.deepStrictEqual([one.requests(), one.connections(), two.requests(), two.connections()], [200, 4, 100, 4])
    assert.deepStrictEqual([paths.filter((path) => path === "/a?b=c").length, new Set(paths).size], [100, 2])
  })

  it("trusts what --ca says, and anything with --insecure", async () => {
    const certificate = await certificateFor("127.0.0.1")
    const server = await serve(ok, certificate)
    for (const flags of [["--ca", await inFile(certificate.cert)], ["--insecure"]]) {
      const result = await poolkit("run", server.url, "--requests", "20", ...flags)
      assert.deepStrictEqual({ status: result.status, stderr: complaints(result) }, { status: 0, stderr: "" })
    }
  })

  it("counts responses from 500 up as failed, and others as answers", async () => {
    let count = 0
    const server = await serve((_request, response) => {
      response.statusCode = [503, 404, 302, 200][count++ % 4]!
      response.end("answer")
    })
    const result = await poolkit("run", server.url, "--requests", "100")
    assert.strictEqual(result.status, 1)
    assert.strictEqual(complaints(result), "poolkit: 25 requests failed, see above\n")
    assert.deepStrictEqual(table(result)[0]!.at(-1), "25")
    assert.include(result.stdout, `  ${server.url}: 25 × HTTP 503\n  ${server.url}: 25 × HTTP 404 (an answer, so not`)
  })

  it("goes on after connections that the server cuts, and says how many", async () => {
    const server = await serve((request) => request.socket.destroy())
    const result = await poolkit("run", server.url, "--requests", "20", "--concurrency", "2")
    assert.deepStrictEqual(
      { status: result.status, stderr: complaints(result) },
      { status: 1, stderr: "poolkit: 20 requests failed, see above\n" }
    )
    const [[, , opened, requests, reuse, p50]] = table(result) as [Array<string>]
    assert.deepStrictEqual([opened, requests, reuse, p50], [String(server.connections()), "20", "0.0", "–"])
    assert.match(result.stdout, /\n  http:\/\/127.0.0.1:\d+: 20 × connection lost \(\w+\)\n$/)
  })

  it("cuts requests to a server that does not answer", async () => {
    const server = await serve(silent)
    const flags = ["--requests", "100", "--concurrency", "8", "--timeout", "0.3", "--connect-timeout", "0.3"]
    const result = await poolkit("run", server.url, ...flags)
    assert.strictEqual(result.status, 1)
    assert.strictEqual(
      complaints(result),
      `poolkit: stopped, no answer for 300ms: ${server.url}: no whole response within 300ms; ` +
        "check the server, or raise --timeout\n"
    )
    assert.include(result.stdout, `  ${server.url}: 8 × no whole response within 300ms\n`)
    assert.include(result.stdout, "8 of 100 requests")
  })

  it("stops when a server has gone", async () => {
    const server = await serve((request, response) => {
      if (server.requests() >= 100) return server.kill()
      ok(request, response)
    })
    const result = await poolkit("run", server.url, "--timeout", "0.5", "--connect-timeout", "0.5")
    assert.strictEqual(result.status, 1)
    assert.match(result.stderr, /^poolkit: stopped, no answer for 500ms: [^\n]+\n$/m)
    assert.include(result.stdout, "of 20,000 requests")
  })

  it("shows progress on stderr, a line at most every second", async () => {
    const server = await serve((request, response) => void setTimeout(() => ok(request, response), 100))
    const before = performance.now()
    const result = await poolkit("run", server.url, "--requests", "60", "--concurrency", "5", "--max-connections", "4")
    const seconds = (performance.now() - before) / 1000
    assert.strictEqual(result.status, 0, result.stderr)
    const lines = result.stderr.trimEnd().split("\n")
    assert.isTrue(1 <= lines.length && lines.length <= seconds, result.stderr)
    for (const line of lines) {
      assert.match(
        line,
        new RegExp(`^\\d+/60 requests \\| \\d+/s \\| ${server.url}: \\d idle, \\d used, \\d connecting, \\d waiting$`)
      )
    }
  })
})
