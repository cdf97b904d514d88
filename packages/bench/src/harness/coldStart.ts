/**
 * How long an import takes in a fresh process, after another one: `coldStart.ts <before> <module>`.
 */
const [before, module] = process.argv.slice(2) as [string, string]
if (before !== "") await import(before)
const start = performance.now()
await import(module)
const load = performance.now() - start
process.send?.({ load })
process.disconnect?.()
