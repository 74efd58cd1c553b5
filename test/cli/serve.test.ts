import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { request } from "node:http"
import * as TestDatabase from "../harness/TestDatabase.js"
import * as Process from "../support/cliProcess.js"

const firstLine = (child: Process.Child) =>
  Effect.async<string>((resume) => {
    let said = ""
    child.stdout.setEncoding("utf8").on("data", (part: string) => {
      said += part
      const end = said.indexOf("\n")
      if (end !== -1) {
        resume(Effect.succeed(said.slice(0, end)))
      }
    })
  })

const ask = (url: string, headers: Readonly<Record<string, string>> = {}) =>
  Effect.promise(() => fetch(url, { redirect: "manual", headers }))

/** The status for a request that names another host, as a trick of DNS makes a browser do. `fetch` does not set the header. */
const askAs = (url: string, host: string, cookie: string) =>
  Effect.async<number | undefined>((resume) => {
    request(url, { headers: { host, cookie } }, (response) => {
      response.resume()
      resume(Effect.succeed(response.statusCode))
    }).end()
  })

it.scoped("the pages are served to one browser, with a token that works once, until a signal ends them", () =>
  Effect.gen(function* () {
    const { url } = yield* TestDatabase.make()
    const child = yield* Process.start(["serve", "--prefix", "/log", "--json"], { DATABASE_URL: url })
    const { url: address } = JSON.parse(yield* firstLine(child)) as { readonly url: string }
    expect(address).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/log\/\?token=[\w-]{32}$/)
    const base = new URL("/log", address).href
    for (const path of ["", "/timeline", "/nope", "/?token=wrong"]) {
      expect([path, (yield* ask(`${base}${path}`)).status]).toStrictEqual([path, 401])
    }
    const entered = yield* ask(address)
    expect([entered.status, entered.headers.get("location")]).toStrictEqual([303, "/log/"])
    const cookie = entered.headers.get("set-cookie") ?? ""
    expect(cookie).toMatch(/^threadline_session=[\w-]{32}; Path=\/log; HttpOnly; SameSite=Strict$/)
    const session = cookie.split(";")[0] ?? ""
    for (const path of ["/", "/timeline", "/coverage"]) {
      expect([path, (yield* ask(`${base}${path}`, { cookie: session })).status]).toStrictEqual([path, 200])
    }
    // Used up, and of no use under another name of this machine.
    expect((yield* ask(address)).status).toBe(401)
    expect(yield* askAs(`${base}/timeline`, "evil.test", session)).toBe(401)
    child.kill("SIGTERM")
    const code = yield* Effect.async<number | null>((resume) => {
      child.on("exit", (exit) => resume(Effect.succeed(exit)))
    })
    expect(code).toBe(130)
  })
)

it.effect("serving refuses what it cannot use before anything is served", () =>
  Effect.gen(function* () {
    expect(yield* Process.run(["serve", "--port", "0"], { DATABASE_URL: "postgres://127.0.0.1:1/x" })).toMatchObject({
      code: 2,
      stdout: ""
    })
    expect(
      yield* Process.run(["serve", "--prefix", "../x"], { DATABASE_URL: "postgres://127.0.0.1:1/x" })
    ).toMatchObject({ code: 2, stdout: "" })
    expect(yield* Process.run(["serve"], { DATABASE_URL: "postgres://127.0.0.1:1/x" })).toMatchObject({
      code: 3,
      stdout: ""
    })
  })
)
