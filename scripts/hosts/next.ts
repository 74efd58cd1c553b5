/**
 * The example of Next.js as somebody runs it: installed beside the package, built with its types checked, started, and asked over HTTP.
 * Next.js is 300 MB, so it is no dependency of this repository: it is installed here, without the libraries for images, and built with
 * the compiler that npm has for this machine.
 */
import * as Effect from "effect/Effect"
import { type ChildProcess, spawn } from "node:child_process"
import { cpSync, readFileSync } from "node:fs"
import { join } from "node:path"
import type pg from "pg"
import { addPackages, expect, manifest, run } from "./host.js"

const example = join(import.meta.dirname, "..", "..", "examples", "next")

const nextVersion = "15.5.29"

const compiler = `@next/swc-${process.platform}-${process.arch}${process.platform === "linux" ? "-gnu" : ""}`

const env = { NEXT_TELEMETRY_DISABLED: "1", NODE_ENV: "production", NO_COLOR: "1" }

/** Installs and builds the example in a project that has the package; where the application is. */
export const buildNext = (host: string): string => {
  const directory = join(host, "shop")
  addPackages(host, [
    `next@${nextVersion}`,
    `${compiler}@${nextVersion}`,
    "react@19.2.0",
    "react-dom@19.2.0",
    "@types/react@19.2.2",
    `pg@${manifest.devDependencies["pg"]}`,
    `typescript@${manifest.devDependencies["typescript"]}`
  ])
  cpSync(example, directory, { recursive: true })
  run(directory, ["node", join(host, "node_modules", "next", "dist", "bin", "next"), "build"], { env })
  return directory
}

/** Where the application listens, until the scope ends. */
const started = (host: string, directory: string, url: string) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.promise(
        () =>
          new Promise<{ readonly origin: string; readonly child: ChildProcess }>((resolve, reject) => {
            const next = join(host, "node_modules", "next", "dist", "bin", "next")
            const child = spawn(process.execPath, [next, "start", "-p", "0", "-H", "127.0.0.1"], {
              cwd: directory,
              env: { ...process.env, ...env, DATABASE_URL: url },
              stdio: ["ignore", "pipe", "inherit"]
            })
            let printed = ""
            child.once("exit", (code) => reject(new Error(`next start ended with ${code}: ${printed}`)))
            child.stdout.on("data", (data) => {
              printed += String(data)
              const origin = /http:\/\/127\.0\.0\.1:[1-9]\d*/.exec(printed)?.[0]
              if (origin !== undefined && printed.includes("Ready")) {
                resolve({ origin, child })
              }
            })
          })
      ),
      ({ child }) =>
        Effect.promise(
          () =>
            new Promise<void>((resolve) => {
              child.once("exit", () => resolve())
              child.kill("SIGTERM")
            })
        )
    ),
    ({ origin }) => origin
  )

/** What a browser without a script does: it reads pages, follows their links, and sends their forms. */
const visit = async (origin: string): Promise<void> => {
  const ask = async (path: string, session?: string, init: RequestInit = {}) => {
    const headers = { ...(session === undefined ? {} : { cookie: `session=${session}` }), ...init.headers }
    const response = await fetch(`${origin}${path}`, { redirect: "manual", ...init, headers })
    return { status: response.status, headers: response.headers, body: await response.text() }
  }
  const isStatus = (what: string, answer: { readonly status: number; readonly body: string }, status: number) =>
    expect(
      answer.status === status,
      `Next.js: ${what} is ${answer.status}, not ${status}:\n${answer.body.slice(0, 800)}`
    )
  const linkIn = (body: string, start: string): string => {
    const link = new RegExp(`href="(${start}[^"]*)"`).exec(body)?.[1]
    expect(link !== undefined, `Next.js: no link to ${start}`)
    return (link ?? "").replaceAll("&amp;", "&")
  }
  const [staff, user] = ["session-of-ann", "session-of-bob"]

  const invoice = { customer: "Zoe", total: "12.50" }
  const json = (body: object): RequestInit => ({
    method: "POST",
    body: JSON.stringify(body),
    headers: { "content-type": "application/json" }
  })
  isStatus("a write of nobody", await ask("/invoices", undefined, json(invoice)), 401)
  isStatus("a wrong write", await ask("/invoices", user, json({ total: 1 })), 400)
  isStatus("a write", await ask("/invoices", user, json(invoice)), 201)

  isStatus("a page for nobody", await ask("/audit/timeline"), 401)
  isStatus("a page for who is no staff", await ask("/audit/timeline", user), 403)
  const home = await ask("/audit", staff)
  isStatus("the start page", home, 200)
  expect(
    home.headers.get("content-security-policy")?.includes("default-src 'none'") === true,
    "Next.js: the headers of the pages do not come through"
  )
  const transaction = await ask(linkIn(home.body, "/audit/transactions/"), staff)
  isStatus("the transaction", transaction, 200)
  for (const word of ["invoice.created", "Bob", "Zoe"]) {
    expect(transaction.body.includes(word), `Next.js: the page of the transaction does not say ${word}`)
  }
  isStatus("the row", await ask(linkIn(transaction.body, "/audit/rows/"), staff), 200)
  const unknown = await ask("/audit/nope", staff)
  isStatus("an unknown page", unknown, 404)
  expect(unknown.body.includes("There is no such page"), "Next.js: an unknown page is not answered by the pages")
  isStatus("a request for the headers alone", await ask("/audit/timeline", staff, { method: "HEAD" }), 200)
  const csv = await ask("/audit/exports/changes.csv?since=all", staff)
  isStatus("an export", csv, 200)
  expect(csv.body.includes("Zoe"), "Next.js: the export has no change")
  const token = /name="token" value="([^"]+)"/.exec(home.body)?.[1] ?? ""
  const themed = await ask("/audit/theme", staff, {
    method: "POST",
    body: new URLSearchParams({ token, theme: "dark", back: "/audit/timeline" }),
    headers: { "sec-fetch-site": "same-origin" }
  })
  isStatus("a form", themed, 303)
  expect(themed.headers.get("set-cookie")?.includes("dark") === true, "Next.js: the form sets no cookie")
}

/** Starts the built example on a database of its own and visits it. */
export const checkNext = (host: string, directory: string, client: pg.Client, url: string) =>
  Effect.gen(function* () {
    yield* Effect.promise(() => client.query(readFileSync(join(example, "schema.sql"), "utf8")))
    const threadline = join(host, "node_modules", ".bin", "threadline")
    run(host, [threadline, "migrate", "up"], { env: { DATABASE_URL: url } })
    run(host, [threadline, "capture", "apply", "--table", "public.invoices"], { env: { DATABASE_URL: url } })
    const origin = yield* started(host, directory, url)
    yield* Effect.promise(() => visit(origin))
  }).pipe(Effect.scoped)
