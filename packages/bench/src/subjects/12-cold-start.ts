/**
 * How long packages take to load, and how large they are in a bundle.
 */
import * as Effect from "effect/Effect"
import { execFile } from "node:child_process"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { gzipSync } from "node:zlib"
import { rolldown } from "rolldown"
import { start } from "../harness/children.ts"
import type { Contestant, Figures, Subject } from "../harness/subject.ts"

const packages = new URL("../../../", import.meta.url)
const pool = new URL("pool/dist/index.js", packages).href
const cachePool = new URL("pool/dist/CachePool.js", packages).href
const http = new URL("http/dist/index.js", packages).href
const effect = import.meta.resolve("effect/Effect")
const runner = new URL("../harness/coldStart.ts", import.meta.url)

/** What is published is what is measured: sources would be stripped of their types first. */
const build = Effect.promise(() =>
  promisify(execFile)(
    process.execPath,
    [fileURLToPath(new URL("../node_modules/typescript/bin/tsc", packages)), "-b", "pool", "http"],
    {
      cwd: packages
    }
  )
)

const loading = (name: string, module: string, before = ""): Contestant => ({
  name,
  open: Effect.as(build, () =>
    Effect.runPromise(Effect.scoped(Effect.map(start<Figures>(runner, [before, module]), ({ message }) => message)))
  )
})

/** Minified and compressed, without what `external` says. */
const sizeOf = async (code: string, external: ReadonlyArray<RegExp>): Promise<Figures> => {
  const entry = "\0entry"
  const bundle = await rolldown({
    input: entry,
    platform: "node",
    external: [...external, /^node:/],
    plugins: [
      {
        name: "entry",
        resolveId: (id) => (id === entry ? entry : null),
        load: (id) => (id === entry ? code : null)
      }
    ]
  })
  const { output } = await bundle.generate({ format: "esm", minify: true })
  const whole = output.map((chunk) => (chunk.type === "chunk" ? chunk.code : "")).join("")
  await bundle.close()
  return { kib: gzipSync(whole, { level: 9 }).length / 1024, raw: whole.length / 1024 }
}

const bundled = (name: string, code: string, external: ReadonlyArray<RegExp> = []): Contestant => ({
  name,
  open: Effect.as(build, () => sizeOf(code, external))
})

const all = (module: string) =>
  `export * from ${JSON.stringify(module.startsWith("file:") ? fileURLToPath(module) : module)}`
/** CommonJS has one export. */
const peer = (name: string) => `export { default } from ${JSON.stringify(fileURLToPath(import.meta.resolve(name)))}`
const effects = [/^effect(\/|$)/]

const subject: Subject = {
  title: "Cold start and size",
  about:
    "The time of an import in a fresh process, of the packages as they are published; beyond `effect` means after `effect/Effect`, " +
    "which a program that uses them has loaded anyway. Bundles are everything that a package exports, minified by rolldown and gzipped.",
  cases: [
    {
      name: "import",
      operations: 1,
      contestants: [
        loading("PoolKit: pool, beyond effect", pool, effect),
        loading("PoolKit: CachePool, beyond effect", cachePool, effect),
        loading("PoolKit: http, beyond effect", http, effect),
        loading("effect/Effect", effect),
        ...["generic-pool", "lightning-pool", "tarn", "pg-pool", "undici"].map((name) =>
          loading(name, import.meta.resolve(name))
        )
      ]
    },
    {
      name: "bundle",
      operations: 1,
      contestants: [
        bundled("PoolKit: pool, beyond effect", all(pool), effects),
        bundled("PoolKit: CachePool, beyond effect", all(cachePool), effects),
        ...["generic-pool", "tarn", "pg-pool"].map((name) => bundled(name, peer(name), [/^pg$/])),
        bundled("lightning-pool", all(import.meta.resolve("lightning-pool")))
      ]
    }
  ],
  baseline: "",
  columns: [
    { figure: "load", title: "ms" },
    { figure: "kib", title: "KiB, gzipped", digits: 1 },
    { figure: "raw", title: "KiB, minified", digits: 1 }
  ],
  targets: [
    {
      what: "import of @poolkit/pool beyond effect/Effect",
      figure: "load",
      unit: "ms",
      of: ["import", "PoolKit: pool, beyond effect"],
      against: [],
      must: 25,
      aim: 12
    },
    {
      what: "@poolkit/pool bundled and gzipped, beyond effect",
      figure: "kib",
      unit: "KiB",
      of: ["bundle", "PoolKit: pool, beyond effect"],
      against: [],
      must: 14,
      aim: 9
    }
  ],
  charts: [
    { title: "Import", kind: "bars", figure: "load", unit: "ms", cases: ["import"] },
    { title: "Bundle, minified and gzipped", kind: "bars", figure: "kib", unit: "KiB", cases: ["bundle"] }
  ]
}

export default subject
