import { expect, it } from "@effect/vitest"
import { EventEmitter } from "node:events"
import { lend, toAuditError } from "../../src/ClientAdapter.js"
import * as drizzle from "../../src/drizzle.js"
import * as kysely from "../../src/kysely.js"
import * as pg from "../../src/pg.js"
import * as postgres from "../../src/postgres.js"
import * as prisma from "../../src/prisma.js"
import * as typeorm from "../../src/typeorm.js"
import { makeAuditError } from "../../src/internal/intent/errors.js"
import { InvalidRequest } from "../../src/ThreadlineError.js"

const entryPoints = { drizzle, kysely, pg, postgres, prisma, typeorm }

for (const [name, { audited, record }] of Object.entries(entryPoints)) {
  it(`threadline/${name} refuses what is no client of its own, in words, before anything runs`, async () => {
    const options = { actor: { type: "user", id: 42 } }
    const call = (entry: typeof audited | typeof record, ...given: ReadonlyArray<unknown>): Promise<unknown> => {
      const answer: unknown = Reflect.apply(entry, undefined, given)
      return Promise.resolve(answer)
    }
    // A reserved connection of postgres.js, and what another client gives.
    const foreign = name === "pg" ? { query: {} } : { query: () => undefined, unsafe: () => undefined }
    for (const wrong of [undefined, null, "postgres://localhost", {}, foreign]) {
      const calls = [
        call(audited, wrong, options, () => Promise.reject(new Error("it ran"))),
        ...(wrong === foreign && name !== "pg" ? [] : [call(record, wrong, "report.read", options)])
      ]
      for (const outcome of await Promise.allSettled(calls)) {
        expect(outcome).toMatchObject({ reason: { field: "db" } })
        expect("reason" in outcome ? outcome.reason : undefined).toBeInstanceOf(InvalidRequest)
      }
    }
  })
}

/** A pool of one client, which answers everything. */
const poolOf = (statements: Array<unknown>) => {
  const client = {
    release: () => void statements.push("released"),
    query: (statement: unknown, ...values: ReadonlyArray<unknown>) => {
      statements.push(values.length === 0 ? statement : [statement, ...values])
      return Promise.resolve([{ rows: [] }, { command: "COMMIT", rows: [] }])
    }
  }
  return { totalCount: 1, query: client.query, connect: () => Promise.resolve(client) }
}

const alice = { type: "user", id: 42 } as const

it("threadline/pg refuses what is no body, and what asks for one has none of it run", async () => {
  const statements: Array<unknown> = []
  for (const body of [undefined, Promise.resolve(1), "select 1"]) {
    const call: unknown = Reflect.apply(pg.audited, undefined, [poolOf(statements), { actor: alice }, body])
    await expect(Promise.resolve(call)).rejects.toMatchObject({ field: "body" })
    expect(() => void Reflect.apply(pg.withContext, undefined, [{ actor: alice }, body])).toThrow(InvalidRequest)
  }
  expect(statements).toEqual([])
})

it("threadline/pg gives a body a client that passes on all arguments, and that refuses a release and what comes after the end", async () => {
  const statements: Array<unknown> = []
  const pool = poolOf(statements)
  const kept = await pg.audited(pool, { actor: alice }, async (client) => {
    await client.query("insert", [1], "more")
    return client
  })
  const isClosed = { _tag: "AuditError", reason: "Closed" }
  await expect(kept.query("late")).rejects.toMatchObject(isClosed)
  const late = (...given: ReadonlyArray<unknown>): unknown => Reflect.apply(kept.query, kept, given)
  expect(await new Promise((resolve) => void late("late", [1], resolve))).toMatchObject(isClosed)
  // A cursor or a stream is given back as it is, so no one would await a promise.
  expect(() => late({ submit: () => undefined })).toThrow(expect.objectContaining(isClosed))
  const released = pg.audited(pool, { actor: alice }, (client) => client.release())
  await expect(released).rejects.toMatchObject({ field: "release" })
  const [begin, insert, end, ...rest] = statements
  expect(begin).toMatch(/^begin; /)
  expect(insert).toEqual(["insert", [1], "more"])
  expect(end).toMatch(/; commit$/)
  expect(rest).toEqual(["released", expect.stringMatching(/^begin; /), "rollback", "released"])
})

it("withContext refuses a part that it does not know, which may be a misspelt one", () => {
  const call = () =>
    void Reflect.apply(pg.withContext, undefined, [{ actor: alice, corelationId: "r" }, () => undefined])
  expect(call).toThrow("corelationId: is not known here")
})

it("toAuditError finds the SQLSTATE in the errors of Sequelize and Objection, and never says that a database which answered cannot be reached", () => {
  const serverError = (code: string) => Object.assign(new Error("the words of the server"), { code })
  const sequelizeError = Object.assign(new Error("wrapped"), { parent: serverError("TL001") })
  const objectionError = Object.assign(new Error("wrapped"), { nativeError: serverError("25P02") })
  expect(toAuditError(sequelizeError)).toMatchObject({ reason: "NoChanges", sqlState: "TL001" })
  expect(toAuditError(objectionError)).toMatchObject({ reason: "TransactionAborted", sqlState: "25P02" })
  expect(toAuditError(new Error("the transaction is closed"))).toMatchObject({
    reason: "Failed",
    detail: "the client failed with a statement of Threadline: the transaction is closed"
  })
})

it("toAuditError knows a lost connection, and one that could not be had, in the words of each client", () => {
  const prismaError = (cause: object) =>
    Object.assign(new Error("Raw query failed"), {
      code: "P2010",
      meta: { driverAdapterError: Object.assign(new Error("the adapter"), { cause }) }
    })
  for (const lost of [
    { code: "CONNECTION_CLOSED" },
    { code: "CONNECTION_DESTROYED" },
    { code: "P1017" },
    { code: "ECONNRESET", syscall: "read" },
    { code: "57P01" },
    { message: "Connection terminated unexpectedly" },
    prismaError({ kind: "ConnectionClosed" }),
    prismaError({ kind: "postgres", originalCode: "57P01" })
  ]) {
    expect(toAuditError(Object.assign(new Error("of the client"), lost))).toMatchObject({ reason: "ConnectionLost" })
  }
  for (const none of [
    { code: "CONNECT_TIMEOUT" },
    { code: "CONNECTION_ENDED" },
    { code: "P1001" },
    { code: "ECONNREFUSED" },
    { code: "ETIMEDOUT", syscall: "connect" },
    { code: "ENOTFOUND", syscall: "getaddrinfo" },
    { code: "28P01", severity: "FATAL" },
    { code: "53300", severity: "FATAL" },
    { code: "57P03", severity: "FATAL" },
    { message: "timeout exceeded when trying to connect" },
    prismaError({ kind: "DatabaseNotReachable" }),
    prismaError({ kind: "AuthenticationFailed", originalCode: "28P01" })
  ]) {
    expect(toAuditError(Object.assign(new Error("of the client"), none))).toMatchObject({ reason: "Unreachable" })
  }
})

it("threadline/pg listens for the errors of a client once, however many calls it has", async () => {
  const client = Object.assign(new EventEmitter(), {
    getTransactionStatus: () => "I",
    query: () => Promise.resolve([{ rows: [] }, { command: "COMMIT", rows: [] }])
  })
  const listening: Array<number> = []
  for (let call = 0; call < 20; call++) {
    await pg.audited(client, { actor: { type: "user", id: 42 } }, () => {
      listening.push(client.listenerCount("error"))
    })
  }
  expect(new Set(listening)).toEqual(new Set([1]))
})

it("ClientAdapter.lend uses a transaction whose parts it does not know as it is, until it ends", async () => {
  const closed = makeAuditError("Closed", "the audited transaction has ended")
  const sent = () => "sent"
  const strange = [
    { send: sent },
    { send: sent, session: null, transaction: sent },
    { send: sent, session: { prepareQuery: "no method" }, transaction: sent, query: "select", _: 1 },
    { send: sent, session: { prepareQuery: sent }, transaction: sent, query: "select", _: 1 },
    Object.assign(() => "", { send: sent, unsafe: 1, file: undefined, savepoint: null })
  ]
  for (const tx of strange) {
    let refused: typeof closed | undefined = undefined
    const lent = lend(tx, { refusal: () => refused, failed: () => undefined })
    expect(lent.send()).toBe("sent")
    for (const name of Object.keys(tx)) {
      expect(typeof Reflect.get(lent, name)).toBe(typeof Reflect.get(tx, name))
    }
    refused = closed
    expect(() => lent.send()).toThrow(closed)
  }

  const open = { refusal: () => undefined, failed: () => undefined }
  const frozen = { execute: sent }
  const ofDrizzle = { session: { prepareQuery: () => Object.freeze(frozen) }, transaction: sent }
  expect(lend(ofDrizzle, open).session.prepareQuery().execute()).toBe("sent")
  const query = Object.freeze(Object.assign(Promise.resolve("rows"), { handler: sent, reject: sent }))
  const ofPostgres = Object.assign(() => query, { unsafe: () => query })
  const lent = lend(ofPostgres, open)
  expect([await lent(), await lent.unsafe()]).toEqual(["rows", "rows"])
})
