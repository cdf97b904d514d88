/** A fault server for the tests of a file. */
import { afterAll, assert, beforeAll } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type { Counts, FaultServer } from "./faultServer.ts"
import { startFaultServer } from "./faultServer.ts"

/**
 * Starts it before the tests, and checks after them that its process ended by
 * itself. Prints how much there was, so that a suite that does nothing shows.
 */
export const useFaultServer = <Scenario>(name: string, file: string): Pick<FaultServer<Scenario>, "listen"> => {
  let server: FaultServer<Scenario> | undefined
  beforeAll(() => {
    server = startFaultServer(file)
  })
  afterAll(async () => {
    const code = await server?.stop()
    if (server !== undefined) console.log(summary(name, server.counts))
    assert.strictEqual(code, 0, "exit code of the fault server")
  })
  return {
    listen: (scenario, tls) =>
      server === undefined ? Effect.die(new Error("the fault server has not started")) : server.listen(scenario, tls)
  }
}

export const summary = (name: string, { connections, listeners, requests }: Counts): string =>
  `${name}: ${listeners} cases, ${connections} connections, ${requests} requests`
