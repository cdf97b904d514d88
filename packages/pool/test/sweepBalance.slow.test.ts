/** More cases of the sweep over balances; `POOLKIT_SWEEP_BALANCE=1` runs all. */
process.env["POOLKIT_SWEEP_BALANCE"] ??= "6"
await import("./sweepBalance.test.ts")
