import { spawn } from "node:child_process"
import { once } from "node:events"
import { mkdtemp, rm, writeFile } from "node:fs/promises"
import * as Http from "node:http"
import * as Https from "node:https"
import * as Net from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { generate } from "selfsigned"
import { afterAll } from "vitest"

const bin = fileURLToPath(new URL("../src/bin.ts", import.meta.url))
// Compiling the same modules for each process is a third of what these tests cost.
const env = { ...process.env, NODE_COMPILE_CACHE: fileURLToPath(new URL("../node_modules/.cache", import.meta.url)) }

/** What tests leave open, in tests that run side by side too. */
const cleanups: Array<() => unknown> = []
afterAll(async () => {
  for (const cleanup of cleanups) await cleanup()
})

export interface Result {
  readonly stdout: string
  readonly stderr: string
  readonly status: number | null
}

export interface Running {
  readonly kill: (signal: NodeJS.Signals) => void
  readonly result: Promise<Result>
}

/** Starts the command as users do, in a process of its own. */
export const start = (...args: ReadonlyArray<string>): Running => {
  const child = spawn(process.execPath, [bin, ...args], { env, stdio: ["ignore", "pipe", "pipe"] })
  cleanups.push(() => void child.kill("SIGKILL"))
  const output = { stdout: "", stderr: "" }
  child.stdout.setEncoding("utf8").on("data", (text: string) => (output.stdout += text))
  child.stderr.setEncoding("utf8").on("data", (text: string) => (output.stderr += text))
  return {
    kill: (signal) => void child.kill(signal),
    result: once(child, "close").then(([status]: Array<number | null>) => ({ ...output, status: status! }))
  }
}

export const poolkit = (...args: ReadonlyArray<string>): Promise<Result> => start(...args).result

/** What the command wrote to stderr besides its progress, of which a busy machine sees some. */
export const complaints = (result: Result): string => result.stderr.replaceAll(/^[\d,]+\/[\d,]+ requests \| .*\n/gm, "")

/** The cells of the final table, a row for each origin. */
export const table = (result: Result): ReadonlyArray<ReadonlyArray<string>> =>
  result.stdout
    .split("\n")
    .filter((line) => line.startsWith("│"))
    .slice(1)
    .map((line) =>
      line
        .split("│")
        .slice(1, -1)
        .map((cell) => cell.trim())
    )

export interface TestServer {
  readonly url: string
  readonly port: number
  /** Connections accepted and requests received so far. */
  readonly connections: () => number
  readonly requests: () => number
  /** Ends when the server has received this many requests. */
  readonly received: (count: number) => Promise<void>
  /** Ends when the server has accepted a connection. */
  readonly connected: () => Promise<unknown>
  /** Drops all connections and listens no more. */
  readonly kill: () => void
}

export interface Certificate {
  readonly key: string
  readonly cert: string
}

/** A server on the loopback interface that counts. It closes when the tests have finished. */
export const serve = async (handler: Http.RequestListener, certificate?: Certificate): Promise<TestServer> => {
  let connections = 0
  let requests = 0
  const listeners = new Set<() => void>()
  const listener: Http.RequestListener = (request, response) => {
    requests++
    for (const listener of listeners) listener()
    handler(request, response)
  }
  const server = certificate === undefined ? Http.createServer(listener) : Https.createServer(certificate, listener)
  server.on(certificate === undefined ? "connection" : "secureConnection", () => connections++)
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  const kill = () => {
    server.close()
    server.closeAllConnections()
  }
  cleanups.push(kill)
  const { port } = server.address() as Net.AddressInfo
  return {
    port,
    url: `${certificate === undefined ? "http" : "https"}://127.0.0.1:${port}`,
    connections: () => connections,
    requests: () => requests,
    connected: () => (connections > 0 ? Promise.resolve() : once(server, "connection")),
    received: (count) =>
      new Promise((resolve) => {
        const check = () => {
          if (requests < count) return
          listeners.delete(check)
          resolve()
        }
        listeners.add(check)
        check()
      }),
    kill
  }
}

export const ok: Http.RequestListener = (_request, response) => {
  response.end("ok")
}

export const silent: Http.RequestListener = () => {}

export const certificateFor = async (ip: string): Promise<Certificate> => {
  const { cert, private: key } = await generate([{ name: "commonName", value: ip }], {
    keyType: "ec",
    algorithm: "sha256",
    extensions: [
      { name: "basicConstraints", cA: true },
      { name: "subjectAltName", altNames: [{ type: 7, ip }] }
    ]
  })
  return { cert, key }
}

/** Writes a file that goes away with the tests, and gives its path. */
export const inFile = async (text: string): Promise<string> => {
  const folder = await mkdtemp(join(tmpdir(), "poolkit-"))
  cleanups.push(() => rm(folder, { recursive: true }))
  await writeFile(join(folder, "file"), text)
  return join(folder, "file")
}

/** A port on the loopback interface that nothing listens on. */
export const closedPort = async (): Promise<number> => {
  const server = Net.createServer().listen(0, "127.0.0.1")
  await once(server, "listening")
  const { port } = server.address() as Net.AddressInfo
  server.close()
  await once(server, "close")
  return port
}

/**
 * A port on the loopback interface that answers no connection attempt, like a firewall that drops packets: its process
 * listens but accepts nothing, and its backlog is full.
 */
export const blackhole = async (): Promise<number> => {
  const script = `
    const server = require("node:net").createServer()
    server.listen(0, "127.0.0.1", 1, () => {
      require("node:fs").writeSync(1, String(server.address().port))
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
    })`
  const child = spawn(process.execPath, ["-e", script], { stdio: ["ignore", "pipe", "inherit"] })
  cleanups.push(() => void child.kill("SIGKILL"))
  const [chunk] = (await once(child.stdout, "data")) as [Buffer]
  const port = Number(chunk.toString())
  // A backlog of one holds two.
  for (let i = 0; i < 2; i++) {
    const socket = Net.connect(port, "127.0.0.1")
    socket.on("error", () => {})
    cleanups.push(() => void socket.destroy())
    await once(socket, "connect")
  }
  return port
}
