import type * as Context from "effect/Context"
import * as Stream from "effect/Stream"
import type { Socket } from "node:net"
import type { Dispatcher } from "undici"
import type { HttpRequest, HttpResponse } from "../HttpConnection.ts"
import { ConnectionLost, type HttpError, type HttpErrorReason } from "../HttpError.ts"
import { type Connected, Exchange } from "./exchange.ts"
import { reasonOf } from "./http1Error.ts"
import { makeRequestStream, type RequestStream } from "./requestStream.ts"
import { afterTurn } from "./watchdog.ts"

/** What an exchange needs from its connection. */
export interface Carrier extends Connected {
  readonly socket: Socket
  /** Whether a request can be written now. */
  readonly isWritable: () => boolean
  readonly dispatch: (options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler) => void
  readonly onHead: (headers: HttpResponse["headers"]) => void
  readonly onOver: () => void
}

/**
 * One request and its response on an HTTP/1.1 connection, as the handler that
 * undici's parser calls.
 *
 * A flush happens in a microtask, when the parser has returned and the socket
 * shows whether it can be used again.
 */
export class Http1Exchange extends Exchange<Carrier> implements Dispatcher.DispatchHandler {
  private readonly stream: RequestStream | undefined
  private controller: Dispatcher.DispatchController | undefined
  private stopWaiting: (() => void) | undefined
  private requestDone = false
  private responseDone = false

  constructor(carrier: Carrier, request: HttpRequest, context: Context.Context<never>, onEnd?: () => void) {
    super(carrier, request, onEnd)
    this.stream = Stream.isStream(request.body) ? makeRequestStream(request.body, context) : undefined
    this.stopWaiting = afterTurn(() => this.dispatch())
  }

  private dispatch(): void {
    this.stopWaiting = undefined
    if (!this.carrier.isWritable()) return this.fail(this.error(new ConnectionLost({ code: "CLOSED_WHILE_IDLE" })))
    const { body, headers = {}, method, path } = this.request
    const flat: Array<string | ReadonlyArray<string>> = []
    let named = false
    for (const name of Object.keys(headers)) {
      named ||= name.length === 4 && name.toLowerCase() === "host"
      flat.push(name, headers[name]!)
    }
    if (!named) flat.push("host", this.carrier.authority)
    this.carrier.dispatch(
      {
        method,
        path,
        headers: flat as Array<string>,
        // undici takes async iterables; its types do not say so.
        body: (this.stream ?? body ?? null) as string | Uint8Array | null
      },
      this
    )
  }

  // ---------------------------------------------------------------------------
  // What undici reports
  // ---------------------------------------------------------------------------

  /** The next statement of undici's writes to the socket. */
  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.controller = controller
    this.begin()
  }

  onBodySent(): void {
    this.alive()
  }

  onRequestSent(): void {
    this.requestDone = true
    this.alive()
  }

  onResponseStarted(): void {
    this.responseStarted = true
  }

  onResponseStart(_: Dispatcher.DispatchController, status: number, headers: HttpResponse["headers"]): void {
    if (status < 200) return this.onInformational()
    this.carrier.onHead(headers)
    this.onHead(status, headers)
  }

  onResponseData(_: Dispatcher.DispatchController, chunk: Uint8Array): void {
    this.onData(chunk)
  }

  onResponseEnd(): void {
    this.responseDone = true
    this.flushLater()
  }

  onResponseError(_: Dispatcher.DispatchController | null, error: Error): void {
    this.fail(this.error(reasonOf(error)))
  }

  // ---------------------------------------------------------------------------
  // What an exchange needs
  // ---------------------------------------------------------------------------

  pause(): void {
    this.controller?.pause()
  }

  resume(): void {
    // In a microtask: who reads may have been called from inside another undici parser, which is not re-entrant.
    queueMicrotask(() => {
      if (this.over) return
      this.alive()
      this.controller?.resume()
    })
  }

  protected isSent(): boolean {
    return this.controller !== undefined
  }

  protected isProducing(): boolean {
    return !this.requestDone && !this.carrier.socket.writableNeedDrain
  }

  protected withdraw(): void {
    if (this.stopWaiting === undefined) return this.destroy()
    this.stopWaiting()
    this.finish()
  }

  private fail(error: HttpError): void {
    this.failure ??= error
    this.flushLater()
  }

  /** Ends the connection, which carries half a message. */
  protected abort(reason: HttpErrorReason): void {
    this.fail(this.error(reason))
    this.destroy()
  }

  private destroy(): void {
    // Without a controller undici has the request in its queue, and fails it when the socket closes.
    if (this.controller === undefined) this.carrier.socket.destroy()
    else this.controller.abort(this.failure!)
  }

  protected schedule(flush: () => void): void {
    queueMicrotask(flush)
  }

  protected isDone(): boolean {
    return this.responseDone
  }

  protected judge(): HttpError | undefined {
    return this.responseDone ? undefined : this.failure
  }

  protected stop(): void {
    if (!this.requestDone) this.stream?.close()
  }

  protected release(): void {
    this.carrier.onOver()
  }
}
