import { assert, describe, it } from "vitest"
import { blackhole, ok, serve, silent, start, table } from "./support.ts"

describe("poolkit run, interrupted", () => {
  for (const [signal, status] of [
    ["SIGINT", 130],
    ["SIGTERM", 143]
  ] as const) {
    it(`ends with the table on ${signal}`, async () => {
      const server = await serve(ok)
      const running = start("run", server.url, "--requests", "1000000")
      await server.received(500)
      running.kill(signal)
      const result = await running.result
      const [[origin, , opened, requests, , , , , , errors]] = table(result) as [Array<string>]
      assert.deepStrictEqual([result.status, origin, opened, errors], [status, server.url, "10", "0"], result.stderr)
      // The requests under way ended: none of those that the server answered is missing.
      assert.strictEqual(Number(requests!.replaceAll(",", "")), server.requests())
      assert.include(result.stdout, " of 1,000,000 requests in ")
    })
  }

  it("ends soon although the server does not answer", async () => {
    const server = await serve(silent)
    const running = start("run", server.url)
    await server.received(10)
    const before = performance.now()
    running.kill("SIGINT")
    // What a terminal's Ctrl-C and a package manager that passes it on do together.
    running.kill("SIGINT")
    const result = await running.result
    assert.isBelow(performance.now() - before, 2000)
    assert.strictEqual(result.status, 130)
    assert.deepStrictEqual(table(result)[0]!.slice(2, 4), ["10", "0"])
  })

  it("ends at once while it waits for the first connection", async () => {
    const port = await blackhole()
    const server = await serve(ok)
    const running = start("run", server.url, `http://127.0.0.1:${port}/`)
    await server.connected()
    const before = performance.now()
    running.kill("SIGINT")
    const result = await running.result
    assert.isBelow(performance.now() - before, 1000)
    assert.deepStrictEqual(result, { status: 130, stdout: "", stderr: "" })
  })
})
