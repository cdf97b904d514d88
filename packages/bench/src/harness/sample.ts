/**
 * Takes samples of one contestant.
 */
import type { Figures, Run } from "./subject.ts"

/** A contestant that mostly waits is warm after so many times the time that a busy one takes. */
const patience = 4

/**
 * Finds how many operations fill a sample, and warms up for so many
 * milliseconds of CPU: on a busy machine the time that passes says nothing about
 * how much was compiled.
 */
export const calibrate = async (run: Run, batch: number, sampleTime: number, warmUp: number): Promise<number> => {
  const start = performance.now()
  const cpuStart = process.cpuUsage()
  const isWarm = () => {
    const { system, user } = process.cpuUsage(cpuStart)
    return (user + system) / 1000 >= warmUp || performance.now() - start >= warmUp * patience
  }
  let batches = 1
  let best = Infinity
  do {
    const { time } = await sample(run, batches * batch)
    best = Math.min(best, time!)
    const fitting = Math.max(1, Math.round((sampleTime * 1e6) / best / batch))
    batches = Math.min(batches * 4, fitting)
  } while (!isWarm())
  return batches * batch
}

/**
 * Collects young garbage first, so that nobody pays for the one before. A full
 * collection would forget the hidden classes of objects of which none is alive,
 * and compiled code with them: contended checkout took half as long again.
 */
export const sample = async (run: Run, operations: number): Promise<Figures> => {
  globalThis.gc?.({ type: "minor" })
  const cpuBefore = process.cpuUsage()
  const start = performance.now()
  const own = await run(operations)
  const elapsed = performance.now() - start
  const cpu = process.cpuUsage(cpuBefore)
  return {
    time: (elapsed * 1e6) / operations,
    cpu: ((cpu.user + cpu.system) * 1e3) / operations,
    rate: (operations * 1e3) / elapsed,
    ms: elapsed / operations,
    ...own
  }
}
