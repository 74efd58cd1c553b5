import { expect, it } from "@effect/vitest"
import * as AuditContext from "../../src/AuditContext.js"
import { currentContext, withContext } from "../../src/ClientAdapter.js"
import { askActor } from "../../src/internal/intent/ambient.js"

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

it("a reason for no actor travels with the context, and an actor above it replaces it", () => {
  expect(AuditContext.encode({ actorError: "expired" })).toBe(`{"actorError":"expired"}`)
  expect(AuditContext.merge({ actorError: "expired" }, { actor: { type: "anonymous" } })).toEqual({
    actor: { type: "anonymous" }
  })
  expect(AuditContext.merge({ actor: { type: "anonymous" } }, { actorError: "expired" })).toEqual({
    actorError: "expired"
  })
})
