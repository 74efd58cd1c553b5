import { describe, expect, it } from "@effect/vitest"
import * as AuditContext from "../../../src/AuditContext.js"
import { currentContext, fromEnvelope, toEnvelope, withContext } from "../../../src/ClientAdapter.js"
import { askActor } from "../../../src/internal/intent/ambient.js"
import { InvalidRequest } from "../../../src/ThreadlineError.js"

it("an actor function that hangs is waited for no longer than the patience of a call", async () => {
  expect(await askActor(() => new Promise(() => undefined), 5)).toEqual({
    actorError: "the actor function took longer than 5 ms"
  })
  expect(
    await askActor(() => {
      throw new Error("secret")
    })
  ).toEqual({ actorError: "the actor function failed" })
  expect(await askActor(() => ({ type: "user", id: 1 }))).toEqual({ actor: { type: "user", id: 1 } })
  // A session that is not there.
  expect(await askActor(() => Promise.resolve(null))).toEqual({})
})

it("withContext lets the inner context win, and an actor replaces why there was none", () => {
  const seen = withContext({ actorError: "the session expired", source: "api", meta: { a: 1 } }, () => [
    withContext({ meta: { b: 2 } }, currentContext),
    withContext({ actor: { type: "system", id: "s" } }, currentContext)
  ])
  expect(seen).toEqual([
    { actorError: "the session expired", source: "api", meta: { a: 1, b: 2 } },
    { actor: { type: "system", id: "s" }, source: "api", meta: { a: 1 } }
  ])
  expect(
    withContext({ actor: { type: "system", id: "s" } }, () => withContext({ actorError: "x" }, currentContext))
  ).toEqual({ actorError: "x" })
  expect(() => withContext(7 as never, currentContext)).toThrow("context: must be an object")
  expect(currentContext()).toEqual({})
})

it("withContext asks for facts that are known only later at each call, and does without them if they throw", async () => {
  let route: string | undefined
  const meta = () => {
    if (route === "broken") {
      throw new Error("secret")
    }
    return route === undefined ? undefined : { route }
  }
  await withContext({ source: "api", meta }, async () => {
    expect(currentContext()).toEqual({ source: "api" })
    await withContext({ meta: { a: 1 } }, async () => {
      await Promise.resolve()
      expect(currentContext()).toEqual({ source: "api", meta: { a: 1 } })
      route = "/posts/:id"
      expect(currentContext()).toEqual({ source: "api", meta: { route, a: 1 } })
      expect(withContext({ meta: { route: "mine" } }, currentContext)).toEqual({
        source: "api",
        meta: { route: "mine", a: 1 }
      })
      expect(fromEnvelope(await toEnvelope())).toMatchObject({ meta: { route, a: 1 } })
      route = "broken"
      expect(currentContext()).toEqual({ source: "api", meta: { a: 1 } })
    })
  })
})

it("a reason for no actor travels with the context, and an actor above it replaces it", () => {
  expect(AuditContext.encode({ actorError: "expired" })).toBe(`{"actorError":"expired"}`)
  expect(AuditContext.merge({ actorError: "expired" }, { actor: { type: "anonymous" } })).toEqual({
    actor: { type: "anonymous" }
  })
  expect(AuditContext.merge({ actor: { type: "anonymous" } }, { actorError: "expired" })).toEqual({
    actorError: "expired"
  })
})

describe("envelopes without Effect", () => {
  const actor = { type: "job", id: "send-receipt" } as const

  it("carry the context, with the answer of a lazy actor", async () => {
    const lazy = { actor: () => Promise.resolve({ type: "user", id: 42 } as const), requestId: "r", correlationId: "c" }
    const envelope = await withContext(lazy, () => toEnvelope({ key: "k" }))
    expect(fromEnvelope(envelope, { actor, jobId: "7", source: "worker", key: "k" })).toEqual({
      actor,
      jobId: "7",
      source: "worker",
      requestId: "r",
      correlationId: "c",
      meta: { onBehalfOf: { type: "user", id: "42" } }
    })
  })

  it("say that the actor is not known if its function fails", async () => {
    const envelope = await withContext({ actor: () => Promise.reject(new Error("secret")) }, () => toEnvelope())
    expect(fromEnvelope(envelope)).toMatchObject({ actorError: "the actor function failed" })
    expect(envelope).not.toContain("secret")
  })

  it("refuse what is wrong, as InvalidRequest", async () => {
    const envelope = await withContext({ actor }, () => toEnvelope({ key: "k" }))
    for (const options of [{ key: "other" }, {}, { key: "k", maxAge: "tomorrow" as never }]) {
      const refusal = (): unknown => fromEnvelope(options.key === undefined ? "forged" : envelope, options)
      expect(refusal).toThrow(InvalidRequest)
    }
    await expect(withContext({ actor: { type: "user", id: "" } }, () => toEnvelope())).rejects.toThrow(InvalidRequest)
    await expect(toEnvelope({ key: "" })).rejects.toThrow(InvalidRequest)
  })
})
