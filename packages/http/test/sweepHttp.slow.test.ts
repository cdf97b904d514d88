/** More cases of the sweep over `HttpPool`; `POOLKIT_SWEEP_HTTP=1` runs all. */
process.env["POOLKIT_SWEEP_HTTP"] ??= "10"
await import("./sweepHttp.test.ts")
