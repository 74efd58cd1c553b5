/** Converts web requests and Node.js requests for the surface, and sends its answers in Node.js. */
import * as Effect from "effect/Effect"
import type { IncomingMessage, ServerResponse } from "node:http"
import { Readable } from "node:stream"
import type { ReadableStream as NodeReadableStream } from "node:stream/web"
import type { Incoming } from "./surface.js"

/** The largest body of a form, in bytes. */
const largestForm = 64 * 1024

const tooLarge = new Error("the form is too large")

const isPrefix = (text: string): boolean => /^(\/[A-Za-z0-9._~-]+)*$/.test(text) && !/\/\.+(\/|$)/.test(text)

/** A prefix without a slash at its end. Undefined if the text is not a valid prefix. */
export const prefixOf = (text: string): string | undefined => {
  const trimmed = text.replace(/\/$/, "")
  return isPrefix(trimmed) ? trimmed : undefined
}

/** The path that the pages are mounted at, and the path that browsers see. */
export interface Mounting {
  readonly prefix: string
  readonly publicPrefix: string | undefined
  readonly trustProxy: boolean
}

/**
 * The path after the prefix, and the prefix that the browser sees. A path outside the prefix becomes one that no page
 * has.
 */
const placed = (
  mounting: Mounting,
  prefix: string,
  target: string,
  header: (name: string) => string | undefined
): { readonly url: string; readonly prefix: string } => {
  const forwarded = mounting.trustProxy ? prefixOf(header("x-forwarded-prefix") ?? "") : undefined
  const query = target.indexOf("?")
  const path = query === -1 ? target : target.slice(0, query)
  const search = query === -1 ? "" : target.slice(query)
  const isUnder = path === prefix || path.startsWith(`${prefix}/`)
  return {
    url: isUnder ? `${path.slice(prefix.length)}${search}` : "/_outside/_of/_the/_prefix",
    prefix: mounting.publicPrefix ?? `${forwarded ?? ""}${prefix}`
  }
}

const formOf = (text: string): URLSearchParams => new URLSearchParams(text)

const isForm = (type: string | undefined): boolean =>
  type?.split(";")[0]?.trim().toLowerCase() === "application/x-www-form-urlencoded"

export const fromWeb = (mounting: Mounting, request: Request): Incoming => {
  const url = new URL(request.url)
  const header = (name: string): string | undefined => request.headers.get(name) ?? undefined
  return {
    method: request.method,
    ...placed(mounting, mounting.prefix, `${url.pathname}${url.search}`, header),
    header: (name) => (name === "host" ? (header("host") ?? url.host) : header(name)),
    form: Effect.tryPromise(async () => {
      if (!isForm(header("content-type"))) {
        return new URLSearchParams()
      }
      const chunks: Array<Uint8Array> = []
      let size = 0
      const reader = request.body?.getReader()
      for (let read = await reader?.read(); read?.value !== undefined; read = await reader?.read()) {
        size += read.value.byteLength
        if (size > largestForm) {
          throw tooLarge
        }
        chunks.push(read.value)
      }
      return formOf(Buffer.concat(chunks).toString("utf8"))
    })
  }
}

/** What frameworks add to a Node.js request. */
interface FromFramework {
  /** Express: the path that the handler is mounted at. */
  readonly baseUrl?: unknown
  readonly originalUrl?: unknown
  /** The body, if a body parser has read it already. */
  readonly body?: unknown
}

const parsedForm = (body: unknown): URLSearchParams | undefined => {
  if (typeof body === "string" || body instanceof URLSearchParams) {
    return new URLSearchParams(body)
  }
  if (typeof body !== "object" || body === null || Buffer.isBuffer(body)) {
    return Buffer.isBuffer(body) ? formOf(body.toString("utf8")) : undefined
  }
  return new URLSearchParams(
    Object.entries(body).flatMap(([name, value]: [string, unknown]): Array<[string, string]> =>
      typeof value === "string" ? [[name, value]] : []
    )
  )
}

export const fromNode = (mounting: Mounting, request: IncomingMessage & FromFramework): Incoming => {
  const header = (name: string): string | undefined => {
    const value = request.headers[name]
    return Array.isArray(value) ? value[0] : value
  }
  const { baseUrl, originalUrl } = request
  const target = typeof originalUrl === "string" ? originalUrl : (request.url ?? "/")
  const prefix =
    typeof baseUrl === "string" && baseUrl !== "" ? (prefixOf(baseUrl) ?? mounting.prefix) : mounting.prefix
  return {
    method: request.method ?? "GET",
    ...placed(mounting, prefix, target, header),
    header,
    form: Effect.tryPromise(async () => {
      const parsed = parsedForm(request.body)
      if (parsed !== undefined) {
        return parsed
      }
      if (!isForm(header("content-type"))) {
        return new URLSearchParams()
      }
      const chunks: Array<Buffer> = []
      let size = 0
      for await (const chunk of request as AsyncIterable<Buffer>) {
        size += chunk.byteLength
        if (size > largestForm) {
          throw tooLarge
        }
        chunks.push(chunk)
      }
      return formOf(Buffer.concat(chunks).toString("utf8"))
    })
  }
}

/** Sends an answer. Resolves when it has been sent, or when the client has closed the connection. */
export const send = async (response: ServerResponse, answer: Response): Promise<void> => {
  response.statusCode = answer.status
  for (const [name, value] of answer.headers) {
    if (name !== "set-cookie") {
      response.setHeader(name, value)
    }
  }
  const cookies = answer.headers.getSetCookie()
  if (cookies.length > 0) {
    response.setHeader("set-cookie", cookies)
  }
  if (answer.body === null) {
    response.end()
    return
  }
  // The stream types of the web and of Node.js differ only in name.
  const body = Readable.fromWeb(answer.body as NodeReadableStream)
  await new Promise<void>((resolve) => {
    response.on("close", () => {
      body.destroy()
      resolve()
    })
    // After the first byte, no status can report a failure. So the connection is cut.
    body.on("error", () => response.destroy())
    body.pipe(response)
  })
}
