import { assert, describe, it } from "vitest"
import { ok, poolkit, serve, table } from "./support.ts"

describe.concurrent("poolkit run with URLs that mean the same or nothing", () => {
  it("counts the connections of a host with a trailing dot, as one origin with the host without it", async () => {
    const { port } = await serve(ok)
    const urls = [`http://localhost.:${port}/`, `http://LOCALHOST:${port}/b`]
    const result = await poolkit("run", ...urls, "--requests", "20", "--concurrency", "1")
    assert.deepStrictEqual(
      table(result).map((row) => row.slice(0, 4)),
      [[`http://localhost:${port}`, "http/1.1", "1", "20"]],
      result.stderr
    )
  })

  const cases: ReadonlyArray<readonly [args: string, line: string]> = [
    ["http://a..b/", `"http://a..b/" is not a URL to send requests to: the host must be an address or a name without`],
    ["http://127.0.0.1:0/", `"http://127.0.0.1:0/" is not a URL to send requests to: the port of the URL must be from`],
    ["--requests 5 --requests 6", "--requests was given 2 times (see poolkit run --help)"]
  ]
  for (const [args, line] of cases) {
    it(`says in one line what is wrong with "${args}"`, async () => {
      const { status, stderr, stdout } = await poolkit("run", ...args.split(" "))
      assert.deepStrictEqual(
        { status, stdout, lines: stderr.split("\n").length },
        { status: 1, stdout: "", lines: 2 },
        stderr
      )
      assert.isTrue(stderr.startsWith(`poolkit: ${line}`), stderr)
    })
  }
})
