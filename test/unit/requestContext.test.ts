import { expect, it } from "@effect/vitest"
import * as AuditContext from "../../src/AuditContext.js"
import * as RequestContext from "../../src/RequestContext.js"
import { InvalidRequest } from "../../src/ThreadlineError.js"

const contextOf = (
  headers: Readonly<Record<string, string | Array<string>>>,
  rules: RequestContext.Rules = {},
  incoming: Omit<RequestContext.Incoming, "header"> = {}
) => {
  let made = 0
  return RequestContext.make({ makeId: () => `made-${++made}`, ...rules })({
    header: (name) => headers[name],
    ...incoming
  })
}

it("RequestContext takes ids that can be believed, and makes those that are missing", () => {
  expect(contextOf({})).toMatchObject({ requestId: "made-1", correlationId: "made-1" })
  expect(contextOf({ "x-request-id": "r-1" })).toMatchObject({ requestId: "r-1", correlationId: "r-1" })
  expect(contextOf({ "x-request-id": "r-1", "x-correlation-id": "a:b/c=d+e@f~g.h_i" })).toMatchObject({
    requestId: "r-1",
    correlationId: "a:b/c=d+e@f~g.h_i"
  })
  expect(
    contextOf({ "x-request-id": "r", "x-id": "c" }, { requestHeader: false, correlationHeader: "X-Id" })
  ).toMatchObject({ requestId: "made-1", correlationId: "c" })
  expect(RequestContext.make()({ header: () => undefined }).requestId).toMatch(/^[0-9a-f-]{36}$/)
})

it("RequestContext replaces an id that cannot be believed, and keeps nothing of it", () => {
  const bad = [
    "",
    " ",
    "a b",
    "a\r\nset-cookie: x",
    "a\nb",
    "a\0",
    "\u001b[31m",
    "é",
    `"quoted"`,
    "<script>",
    "'; drop table posts; --",
    "{}",
    "a,b",
    "y".repeat(129)
  ]
  for (const id of [...bad, ["one", "two"]]) {
    expect(contextOf({ "x-request-id": id, "x-correlation-id": id })).toEqual({
      requestId: "made-1",
      correlationId: "made-2",
      traceId: undefined,
      remoteIp: undefined,
      source: undefined,
      meta: undefined
    })
  }
  // A maker of ids that does not do its work is replaced, too.
  for (const makeId of [
    () => "",
    () => 7 as never,
    () => {
      throw new Error("no entropy")
    }
  ]) {
    expect(contextOf({}, { makeId }).requestId).toMatch(/^[0-9a-f-]{36}$/)
  }
})

it("RequestContext reads a traceparent by its standard, and nothing else", () => {
  const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
  const span = "00f067aa0ba902b7"
  for (const good of [`00-${trace}-${span}-01`, `01-${trace}-${span}-00-more`, `cc-${trace}-${span}-00`]) {
    expect(contextOf({ traceparent: good }).traceId).toBe(trace)
  }
  for (const bad of [
    `ff-${trace}-${span}-01`,
    `00-${trace}-${span}-01-more`,
    `00-${"0".repeat(32)}-${span}-01`,
    `00-${trace}-${"0".repeat(16)}-01`,
    `00-${trace.toUpperCase()}-${span}-01`,
    `00-${trace}-${span}-1`,
    `00-${trace}-${span}-01\n`,
    trace,
    "",
    [`00-${trace}-${span}-01`, `00-${trace}-${span}-01`]
  ]) {
    expect(contextOf({ traceparent: bad }).traceId).toBeUndefined()
  }
})

it("RequestContext believes forwarded addresses only as far as proxies of its own wrote them", () => {
  const rules = { trustedProxies: ["10.0.0.0/8", "192.0.2.1", "fd00::/8"] }
  const cases: ReadonlyArray<readonly [connection: string | undefined, header: string, found: string | undefined]> = [
    ["203.0.113.9", "1.1.1.1", "203.0.113.9"],
    ["10.0.0.1", "1.1.1.1", "1.1.1.1"],
    ["10.0.0.1", "6.6.6.6, 1.1.1.1", "1.1.1.1"],
    ["10.0.0.1", "6.6.6.6, 1.1.1.1, 10.2.3.4,192.0.2.1", "1.1.1.1"],
    ["::ffff:10.0.0.1", "::ffff:1.1.1.1", "1.1.1.1"],
    ["fd00::1", "[2001:db8::7]:4711", "2001:db8::7"],
    ["10.0.0.1", "1.1.1.1:4711", "1.1.1.1"],
    ["10.0.0.1", "6.6.6.6, unknown", "10.0.0.1"],
    ["10.0.0.1", "6.6.6.6, unknown, 10.0.0.2", "10.0.0.2"],
    ["10.0.0.1", "", "10.0.0.1"],
    ["10.0.0.1", "10.0.0.2, 10.0.0.3", "10.0.0.2"],
    ["fe80::1%eth0", "", "fe80::1"],
    [undefined, "1.1.1.1", undefined],
    ["nowhere", "1.1.1.1", undefined]
  ]
  for (const [remoteAddress, header, found] of cases) {
    const headers = { "x-forwarded-for": header }
    expect([header, contextOf(headers, rules, { remoteAddress }).remoteIp]).toEqual([header, found])
  }
  expect(contextOf({ "x-forwarded-for": "1.1.1.1" }, {}, { remoteAddress: "127.0.0.1" }).remoteIp).toBe("127.0.0.1")
})

it("RequestContext says where, and leaves out facts that cannot be recorded", () => {
  const where = { method: "POST", route: "/posts/:id" }
  expect(contextOf({}, { source: "api" }, { ...where, meta: { tenant: 1 } })).toMatchObject({
    source: "api",
    meta: { route: "POST /posts/:id", tenant: 1 }
  })
  for (const meta of [{ big: 1n }, { "nul\0": 1 }, 7, ["a"]] as ReadonlyArray<unknown> as ReadonlyArray<never>) {
    const context = contextOf({}, {}, { ...where, meta })
    expect(context.meta).toEqual({ route: "POST /posts/:id" })
    expect(AuditContext.invalid(context)).toBeUndefined()
  }
})

it("RequestContext refuses rules that cannot be followed, when they are given", () => {
  const wrong: ReadonlyArray<readonly [field: string, rules: object]> = [
    ["source", { source: "" }],
    ["requestHeader", { requestHeader: "x y" }],
    ["correlationHeader", { correlationHeader: 7 }],
    ["trustedProxies", { trustedProxies: true }],
    ["trustedProxy", { trustedProxy: ["10.0.0.0/8"] }],
    ["trustedProxies", { trustedProxies: "10.0.0.0/8" }],
    ["actor", { actor: { type: "user", id: 42 } }],
    ["meta", { meta: { tenant: 1 } }],
    ["remoteAddress", { remoteAddress: "10.0.0.1" }],
    ["makeId", { makeId: "uuid" }],
    ...["proxy.example", "10.0.0.0/33", "10.0.0.0/8/8", "10.0.0.0/", "::/129", 7].map(
      (proxy) => ["trustedProxies", { trustedProxies: [proxy] }] as const
    )
  ]
  for (const [field, rules] of wrong) {
    let error: unknown
    try {
      RequestContext.make(rules)
    } catch (thrown) {
      error = thrown
    }
    expect(error).toBeInstanceOf(InvalidRequest)
    expect(error).toMatchObject({ field })
  }
})
