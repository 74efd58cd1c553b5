import { expect, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { inspect } from "node:util"
import * as Audit from "../../src/Audit.js"
import { currentContext, withContext } from "../../src/ClientAdapter.js"
import { InvalidRequest } from "../../src/ThreadlineError.js"
import { TestDatabase } from "../harness/TestDatabase.js"
import * as Host from "../support/auditedHost.js"
import { type Built, clients, type Plain, type Writer } from "./plainClients.js"

const alice = { type: "user", id: 42, label: "Alice" } as const
const bob = { type: "user", id: "bob" } as const

const failureOf = async (promise: PromiseLike<unknown>): Promise<unknown> => {
  try {
    await promise
  } catch (error) {
    return error
  }
  throw new Error("it succeeded")
}

class Refused extends Error {}

const closed = { reason: "Closed" }

/** How clients refuse a query whose transaction has ended, if they do it themselves. */
const refusals: Readonly<Record<string, object>> = {
  Kysely: { message: "Transaction is already committed" },
  Prisma: { code: "P2028" },
  TypeORM: { message: "Query runner already released. Cannot run queries anymore." }
}

/** What a body may do whose connection was lost some time ago. */
const afterLoss: Readonly<Record<string, (writer: Writer) => Promise<unknown>>> = {
  "waits, and returns": () => Promise.resolve(),
  "waits, and fails": () => Promise.reject(new Refused("no")),
  "waits, and sends a statement": (writer) => writer.count(),
  "waits, and goes on after each failure": async (writer) => {
    for (const again of [1, 2, 3]) {
      await writer.insert(again).catch(() => undefined)
    }
  },
  "waits, and opens a savepoint": (writer) => writer.savepoint((inner) => inner.insert(2).then(() => undefined)),
  "waits, and makes a call inside": (writer) => writer.audited({ action: "inner" }, (inner) => inner.insert(3)),
  "waits, and records an action": (writer) => writer.record("noticed")
}

const withResolvers = () => {
  let resolve: () => void = () => undefined
  const promise = new Promise<void>((resolved) => {
    resolve = resolved
  })
  return { promise, resolve }
}

/** What is recorded, each row with who did it, and each action. */
const seen = Effect.gen(function* () {
  return {
    changes: (yield* Host.changes).map(({ actor, row }) => `${row} by ${actor ?? "nobody"}`),
    actions: (yield* Host.actions).map(
      ({ actor_id, name, status, transaction_id }) =>
        `${String(name)} ${String(status)} by ${String(actor_id)}${transaction_id === null ? "" : ", linked"}`
    )
  }
})

for (const [name, open] of Object.entries(clients)) {
  layer(Host.layer, { excludeTestServices: true })(`audited, with ${name}`, (it) => {
    const run = (body: (client: Plain) => Promise<void>) =>
      Effect.gen(function* () {
        yield* Host.reset
        const role = yield* (yield* TestDatabase).role("app")
        yield* Effect.acquireUseRelease(
          Effect.promise(async () => open(role.url)),
          (client) => Effect.promise(() => body(client)),
          (client) => Effect.promise(() => client.close())
        )
      })

    it.effect("records who and why beside what changed, and returns what the body returned", () =>
      Effect.gen(function* () {
        yield* run(async (client) => {
          const value = await client.audited(
            {
              actor: alice,
              correlationId: "c'; --\\",
              meta: { text: 'Zoë\'s \\ $1 "x"' },
              action: (id: number) => ({ name: "post.created", subject: { type: "post", id } }),
              reason: "it's due"
            },
            async (writer) => {
              await writer.insert(1)
              return 1
            }
          )
          expect(value).toBe(1)
        })
        expect(yield* seen).toEqual({ changes: ["1 by user:42"], actions: ["post.created ok by 42, linked"] })
        expect(yield* Host.transactions).toMatchObject([
          {
            actor: { type: "user", id: "42", label: "Alice" },
            correlation_id: "c'; --\\",
            meta: { text: 'Zoë\'s \\ $1 "x"' },
            context_error: null
          }
        ])
        expect(yield* Host.actions).toMatchObject([{ subject_type: "post", subject_id: "1", reason: "it's due" }])
      })
    )

    it.effect("takes what the code around it says, at any depth, and what the call says above it", () =>
      Effect.gen(function* () {
        yield* run(async (client) => {
          await withContext({ actor: alice, requestId: "r", meta: { a: 1 } }, async () => {
            await new Promise((resolve) => setImmediate(resolve))
            await withContext({ meta: { b: 2 } }, () =>
              Promise.all([
                client.audited({ action: "one" }, async (writer) => {
                  await writer.insert(1)
                  expect(currentContext()).toMatchObject({ requestId: "r", actor: alice })
                }),
                withContext({ actor: bob }, () => client.audited({ requestId: "s" }, (writer) => writer.insert(2)))
              ])
            )
          })
          expect(currentContext()).toEqual({})
        })
        const transactions = [...(yield* Host.transactions)].sort((a) => (a["actor_id"] === "42" ? -1 : 1))
        expect(transactions).toMatchObject([
          { actor_id: "42", request_id: "r", meta: { a: 1, b: 2 } },
          { actor_id: "bob", request_id: "s", meta: { a: 1, b: 2 } }
        ])
      })
    )

    it.effect("refuses what is wrong before anything is written", () =>
      Effect.gen(function* () {
        yield* run(async (client) => {
          const refusals: ReadonlyArray<readonly [expected: object, options: object]> = [
            [{ field: "actor.type" }, { actor: { type: "customer", id: 1 } }],
            [{ field: "actor" }, { actor: "42" }],
            [{ field: "actor.id" }, { actor: { type: "user", id: 1.5 } }],
            [{ field: "correlationId" }, { actor: alice, correlationId: "" }],
            [{ field: "remoteIp" }, { actor: alice, remoteIp: "nowhere" }],
            [{ field: "action.name" }, { actor: alice, action: "" }],
            [{ field: "actions" }, { actor: alice, actions: "a" }],
            [{ field: "reason" }, { actor: alice, reason: "no action" }],
            [{ field: "onFailure" }, { actor: alice, action: () => "a", onFailure: "record" }],
            [{ field: "schema" }, { actor: alice, schema: "" }],
            [{ reason: "MissingActor" }, { action: "a" }]
          ]
          for (const [expected, options] of refusals) {
            const error = await failureOf(client.audited(options, () => Promise.reject(new Error("it ran"))))
            expect(error).toMatchObject(expected)
            expect(error instanceof InvalidRequest || Audit.AuditError.is(error)).toBe(true)
          }
          const around = withContext({ actor: alice, jobId: "y".repeat(257) }, () =>
            client.audited({ action: "a" }, (writer) => writer.insert(1))
          )
          expect(await failureOf(around)).toMatchObject({ field: "jobId" })
          expect(
            await failureOf(client.audited({ actor: alice, schema: "elsewhere" }, (w) => w.insert(1)))
          ).toMatchObject({
            _tag: "AuditError"
          })
          await client.audited({ allowMissingActor: true }, (writer) => writer.insert(2))
        })
        expect(yield* seen).toEqual({ changes: ["2 by nobody"], actions: [] })
      })
    )

    it.effect("undoes everything if the body fails, and can keep the failed action", () =>
      Effect.gen(function* () {
        yield* run(async (client) => {
          const refused = new Refused("no")
          const options = { actor: alice, action: "post.created" } as const
          const attempt = (more: object) =>
            failureOf(
              client.audited({ ...options, ...more }, async (writer) => {
                await writer.insert(1)
                throw refused
              })
            )
          expect(await attempt({})).toBe(refused)
          expect(await attempt({ onFailure: "record" })).toBe(refused)
          // The client is in order afterwards.
          await client.audited(options, (writer) => writer.insert(2))
        })
        expect(yield* seen).toEqual({
          changes: ["2 by user:42"],
          actions: ["post.created error by 42", "post.created ok by 42, linked"]
        })
        expect(yield* Host.postIds).toEqual([2])
      })
    )

    it.effect("fails if an action that is made from the result is wrong, and keeps nothing", () =>
      Effect.gen(function* () {
        yield* run(async (client) => {
          const error = await failureOf(
            client.audited({ actor: alice, action: () => "" }, (writer) => writer.insert(1))
          )
          expect(error).toMatchObject({ field: "action.name" })
        })
        expect(yield* Host.postIds).toEqual([])
      })
    )

    it.effect("tells no change, and a failed statement that the body ignored, from success", () =>
      Effect.gen(function* () {
        yield* run(async (client) => {
          expect(
            await failureOf(
              client.audited({ actor: alice, action: "a", requireChanges: true }, () => Promise.resolve())
            )
          ).toMatchObject({ _tag: "AuditError", reason: "NoChanges" })
          const swallowed = await failureOf(
            client.audited({ actor: alice, action: "a" }, async (writer) => {
              await writer.insert(1)
              await writer.fail().then(undefined, () => undefined)
            })
          )
          // Some clients tell of the failed statement themselves.
          expect(Audit.AuditError.is(swallowed) ? swallowed.reason : "TransactionAborted").toBe("TransactionAborted")
        })
        expect(yield* seen).toEqual({ changes: [], actions: [] })
      })
    )

    it.effect("is no success where the body ended the transaction itself, and records nothing without its actor", () =>
      Effect.gen(function* () {
        yield* run(async (client) => {
          const ended = client.audited({ actor: alice, action: "a" }, async (writer) => {
            await writer.insert(1)
            await writer.rollback()
          })
          expect(await failureOf(ended)).toMatchObject({ _tag: "AuditError", reason: "EndedByBody" })
          // The connection is as good as before.
          await client.audited({ actor: alice, action: "b" }, (writer) => writer.insert(2))
        })
        expect((yield* seen).actions).toEqual(["b ok by 42, linked"])
      })
    )

    it.effect("records further actions in the transaction, and none after its end", () =>
      Effect.gen(function* () {
        yield* run(async (client) => {
          let keptRecorder: { readonly record: (action: string) => Promise<string> } | undefined
          const id = await client.audited({ actor: alice, action: "post.created" }, async (writer, recorder) => {
            await writer.insert(1)
            keptRecorder = recorder
            await writer.record("in between", { reason: "by the entry point" })
            return recorder.record({ name: "mail.sent", data: { to: "x" } }, { status: "error" })
          })
          expect(id).toMatch(/^[0-9]+$/)
          expect(await failureOf(keptRecorder?.record("late") ?? Promise.resolve())).toMatchObject({ reason: "Closed" })
          expect(await client.record("report.read", { actor: bob })).toMatch(/^[0-9]+$/)
          expect(await failureOf(client.record("report.read"))).toMatchObject({ reason: "MissingActor" })
          expect(await failureOf(client.record("", { actor: bob }))).toMatchObject({ field: "action.name" })
        })
        expect((yield* seen).actions).toEqual([
          "in between ok by 42, linked",
          "mail.sent error by 42, linked",
          "post.created ok by 42, linked",
          "report.read ok by bob"
        ])
      })
    )

    it.effect("is a part of its own inside another one: its context ends with it, its failure undoes it alone", () =>
      Effect.gen(function* () {
        yield* run(async (client) => {
          await client.audited({ actor: alice, action: "outer" }, async (writer) => {
            await writer.insert(1)
            await writer.audited({ actor: bob, action: "inner" }, async (inner) => {
              await inner.insert(2)
              await inner.audited({ actor: { type: "system", id: "s" }, action: "innermost" }, (deepest) =>
                deepest.insert(3)
              )
              await inner.insert(4)
            })
            await writer.insert(5)
            const refused = new Refused("no")
            expect(
              await failureOf(
                writer.audited({ action: "refused" }, async (inner) => {
                  await inner.insert(6)
                  throw refused
                })
              )
            ).toBe(refused)
            await writer.insert(7)
            expect(
              await failureOf(writer.audited({ onFailure: "record", action: "a" }, () => Promise.resolve()))
            ).toMatchObject({ reason: "NotOutermost" })
            // Siblings take turns, whatever the order of their statements.
            await Promise.all([
              writer.audited({ actor: bob, action: "left" }, (inner) => inner.insert(8)),
              writer.audited({ actor: alice, action: "right" }, (inner) => inner.insert(9)),
              writer.audited({ actor: bob, action: "left" }, (inner) => inner.insert(10))
            ])
          })
        })
        expect(yield* seen).toEqual({
          changes: [
            "1 by user:42",
            "2 by user:bob",
            "3 by system:s",
            "4 by user:bob",
            "5 by user:42",
            "7 by user:42",
            "8 by user:bob",
            "9 by user:42",
            "10 by user:bob"
          ],
          actions: [
            "innermost ok by s, linked",
            "inner ok by bob, linked",
            "left ok by bob, linked",
            "right ok by 42, linked",
            "left ok by bob, linked",
            "outer ok by 42, linked"
          ]
        })
        expect(yield* Host.postIds).toEqual([1, 2, 3, 4, 5, 7, 8, 9, 10])
      })
    )

    it.effect("ends after the calls inside it, also one that the body did not await, and as its own actor", () =>
      Effect.gen(function* () {
        yield* run(async (client) => {
          const begun = withResolvers()
          const goOn = withResolvers()
          let inside: Promise<unknown> = Promise.resolve()
          const outer = client.audited({ actor: alice, action: "outer" }, async (writer) => {
            await writer.insert(1)
            await writer.audited({ actor: { type: "system", id: "s" }, action: "middle" }, async (middle) => {
              inside = middle.audited({ actor: bob, action: "inner" }, async (inner) => {
                await inner.insert(2)
                begun.resolve()
                await goOn.promise
              })
              await begun.promise
            })
            await writer.insert(3)
          })
          await begun.promise
          await new Promise((resolve) => setImmediate(resolve))
          goOn.resolve()
          await Promise.all([outer, inside])
        })
        expect(yield* seen).toEqual({
          changes: ["1 by user:42", "2 by user:bob", "3 by user:42"],
          actions: ["inner ok by bob, linked", "middle ok by s", "outer ok by 42, linked"]
        })
      })
    )

    it.effect("ends after a call inside it that waits for its actor, if the body ends at once", () =>
      Effect.gen(function* () {
        yield* run(async (client) => {
          let inside: Promise<unknown> = Promise.resolve()
          const findBob = () => new Promise<typeof bob>((resolve) => setTimeout(resolve, 20, bob))
          await client.audited({ actor: alice, action: "outer" }, async (writer) => {
            await writer.insert(1)
            inside = withContext({ actor: findBob }, () =>
              writer.audited({ action: "inner" }, (inner) => inner.insert(2))
            )
          })
          await inside
        })
        expect(yield* seen).toEqual({
          changes: ["1 by user:42", "2 by user:bob"],
          actions: ["inner ok by bob, linked", "outer ok by 42, linked"]
        })
      })
    )

    it.effect("takes the calls inside it along if it fails, also one under way and one that waits", () =>
      Effect.gen(function* () {
        yield* run(async (client) => {
          const begun = withResolvers()
          const goOn = withResolvers()
          let inside: ReadonlyArray<Promise<unknown>> = []
          const refused = new Refused("no")
          const outer = client.audited({ actor: alice, action: "outer" }, async (writer) => {
            await writer.insert(1)
            inside = [
              writer.audited({ actor: bob, action: "under way" }, async (inner) => {
                begun.resolve()
                await goOn.promise
                await inner.insert(2)
              }),
              failureOf(writer.audited({ actor: bob, action: "waits" }, (inner) => inner.insert(3)))
            ]
            await begun.promise
            throw refused
          })
          await begun.promise
          await new Promise((resolve) => setImmediate(resolve))
          goOn.resolve()
          expect(await failureOf(outer)).toBe(refused)
          expect(await Promise.all(inside)).toMatchObject([undefined, { reason: "Closed" }])
          await client.audited({ actor: bob, action: "next" }, (writer) => writer.insert(4))
        })
        expect(yield* seen).toEqual({ changes: ["4 by user:bob"], actions: ["next ok by bob, linked"] })
        expect(yield* Host.postIds).toEqual([4])
      })
    )

    it.effect("lets nothing that it started write into the transaction of another call after its end", () =>
      Effect.gen(function* () {
        yield* run(async (client) => {
          const goOn = withResolvers()
          let late: Promise<unknown> = Promise.resolve()
          await client.audited({ actor: alice, action: "first" }, async (writer) => {
            await writer.insert(1)
            late = goOn.promise.then(() =>
              writer.audited({ actor: alice, action: "late" }, (inner) => inner.insert(2)).catch(() => undefined)
            )
          })
          const refused = new Refused("no")
          const second = client.audited({ actor: bob, action: "second" }, async (writer) => {
            await writer.insert(3)
            goOn.resolve()
            // A single client has one transaction at a time, so that the late call waits for the end of this one.
            await (name === "a client of pg" ? undefined : late)
            throw refused
          })
          expect(await failureOf(second)).toBe(refused)
          await late
        })
        const isFree = name === "a client of pg"
        expect(yield* seen).toEqual({
          changes: isFree ? ["1 by user:42", "2 by user:42"] : ["1 by user:42"],
          actions: ["first ok by 42, linked", ...(isFree ? ["late ok by 42, linked"] : [])]
        })
      })
    )

    // A client belongs to its caller, who may go on with it.
    if (name !== "a client of pg") {
      it.effect("lets no statement that it started become part of another call after its end", () =>
        Effect.gen(function* () {
          yield* run(async (client) => {
            const goOn = withResolvers()
            let late: Promise<unknown> = Promise.resolve()
            const refused = new Refused("no")
            const first = client.audited({ actor: alice, action: "first" }, async (writer) => {
              await writer.insert(1)
              late = goOn.promise.then(() => writer.insert(2)).catch(() => undefined)
              throw refused
            })
            expect(await failureOf(first)).toBe(refused)
            await client.audited({ actor: bob, action: "second" }, async (writer) => {
              await writer.insert(3)
              goOn.resolve()
              await late
            })
          })
          expect(yield* seen).toEqual({ changes: ["3 by user:bob"], actions: ["second ok by bob, linked"] })
          expect(yield* Host.postIds).toEqual([3])
        })
      )

      it.effect("sends no query after its end that was built in it, in a savepoint or in a call inside", () =>
        Effect.gen(function* () {
          yield* run(async (client) => {
            const built: Array<readonly [where: string, queries: Built]> = []
            await client.audited({ actor: alice, action: "first" }, async (writer) => {
              await writer.insert(1)
              built.push(["the call", writer.built(100)])
              await writer.savepoint(async (inner) => {
                await inner.insert(2)
                built.push(["a savepoint", inner.built(200)])
              })
              await writer.audited({ actor: bob, action: "inner" }, async (inner) => {
                await inner.insert(3)
                built.push(["a call inside", inner.built(300)])
              })
            })
            await client.audited({ actor: bob, action: "second" }, async (writer) => {
              await writer.insert(4)
              for (const [where, queries] of built) {
                for (const [kind, send] of Object.entries(queries)) {
                  expect([where, kind, await failureOf(send())]).toMatchObject([where, kind, refusals[name] ?? closed])
                }
              }
              await writer.insert(5)
            })
          })
          expect((yield* seen).changes).toEqual([
            "1 by user:42",
            "2 by user:42",
            "3 by user:bob",
            "4 by user:bob",
            "5 by user:bob"
          ])
          expect(yield* Host.postIds).toEqual([1, 2, 3, 4, 5])
        })
      )
    }

    it.effect("gives what the client itself gives for every kind of query, also in savepoints and calls inside", () =>
      Effect.gen(function* () {
        yield* run(async (client) => {
          const answers = async (writer: Writer): Promise<ReadonlyArray<unknown>> => {
            const given: Array<unknown> = []
            for (const [kind, send] of Object.entries(writer.built(100))) {
              given.push([kind, await send()])
            }
            return given
          }
          const undone = new Refused("no")
          let expected: ReadonlyArray<unknown> = []
          const own = client.own(async (writer) => {
            expected = await answers(writer)
            throw undone
          })
          expect(await failureOf(own)).toBe(undone)
          expect(expected.length).toBeGreaterThan(0)
          await client.audited({ actor: alice, action: "outer" }, async (writer) => {
            const inSavepoint = writer.savepoint(async (inner) => {
              expect(await answers(inner)).toEqual(expected)
              throw undone
            })
            expect(await failureOf(inSavepoint)).toBe(undone)
            const inside = writer.audited({ actor: bob }, async (inner) => {
              expect(await answers(inner)).toEqual(expected)
              throw undone
            })
            expect(await failureOf(inside)).toBe(undone)
            expect(await answers(writer)).toEqual(expected)
          })
        })
        const { changes } = yield* seen
        expect(changes.length).toBeGreaterThan(0)
        expect(changes.filter((change) => !change.endsWith(" by user:42"))).toEqual([])
      })
    )

    // With savepoints of their own, whose names repeat.
    if (name === "postgres.js" || name.startsWith("Drizzle")) {
      it.effect("rolls back no savepoint of another call if a savepoint fails after its end", () =>
        Effect.gen(function* () {
          yield* run(async (client) => {
            const begun = withResolvers()
            const goOn = withResolvers()
            let late: Promise<unknown> = Promise.resolve()
            await client.audited({ actor: alice, action: "first" }, async (writer) => {
              await writer.insert(1)
              late = failureOf(
                writer.savepoint(async () => {
                  begun.resolve()
                  await goOn.promise
                  throw new Refused("no")
                })
              )
              await begun.promise
            })
            await client.audited({ actor: bob, action: "second" }, (writer) =>
              writer.savepoint(async (inner) => {
                await inner.insert(2)
                goOn.resolve()
                expect(await late).toBeInstanceOf(Error)
                await inner.insert(3)
              })
            )
          })
          expect((yield* seen).changes).toEqual(["1 by user:42", "2 by user:bob", "3 by user:bob"])
          expect(yield* Host.postIds).toEqual([1, 2, 3])
        })
      )
    }

    it.effect("is a part inside a transaction that the host opened itself, and leaves the rest of it alone", () =>
      Effect.gen(function* () {
        yield* run(async (client) => {
          await client.own(async (writer) => {
            await writer.insert(1)
            await Promise.all([
              writer.audited({ actor: alice, action: "a" }, async (inner) => {
                await inner.insert(2)
                await inner.audited({ actor: bob }, (deepest) => deepest.insert(3))
              }),
              writer.audited({ actor: bob, action: "b" }, (inner) => inner.insert(4))
            ])
            await writer.insert(5)
          })
          await failureOf(
            client.own(async (writer) => {
              await writer.audited({ actor: alice, action: "a" }, (inner) => inner.insert(6))
              throw new Refused("no")
            })
          )
        })
        expect(yield* seen).toEqual({
          changes: ["1 by nobody", "2 by user:42", "3 by user:bob", "4 by user:bob", "5 by nobody"],
          actions: ["a ok by 42, linked", "b ok by bob, linked"]
        })
        expect(yield* Host.postIds).toEqual([1, 2, 3, 4, 5])
      })
    )

    it.effect("asks a lazy actor once, and writes without one if that fails", () =>
      Effect.gen(function* () {
        let asked = 0
        yield* run(async (client) => {
          const actor = async () => {
            asked++
            await new Promise((resolve) => setImmediate(resolve))
            return alice
          }
          await withContext({ actor }, async () => {
            await client.audited({ action: "a" }, (writer) => writer.insert(1))
            await client.audited({ action: "a" }, async (writer) => {
              await writer.insert(2)
              await writer.audited({ action: "b" }, (inner) => inner.insert(3))
            })
          })
          const failing = () => Promise.reject(new Error("the session store is down: secret"))
          await withContext({ actor: failing }, () => client.audited({ action: "a" }, (writer) => writer.insert(4)))
          const wrong = () => ({ type: "customer", id: 1 }) as never
          await withContext({ actor: wrong }, () => client.audited({ action: "a" }, (writer) => writer.insert(5)))
          expect(
            await failureOf(withContext({ actor: () => undefined }, () => client.audited({}, () => Promise.resolve())))
          ).toMatchObject({ reason: "MissingActor" })
        })
        expect(asked).toBe(1)
        expect((yield* seen).changes).toEqual([
          "1 by user:42",
          "2 by user:42",
          "3 by user:42",
          "4 by nobody",
          "5 by nobody"
        ])
        expect((yield* Host.transactions).map((row) => row["context_error"])).toEqual([
          null,
          null,
          null,
          "actor: the actor function failed",
          "actor: the actor function gave no actor: actor.type: must be user, admin, service_account, job, system or anonymous"
        ])
      })
    )

    it.effect(
      "does not know how a transaction ended whose session the server ended in COMMIT, and records no failure",
      () =>
        Effect.gen(function* () {
          yield* run(async (client) => {
            const lost = await failureOf(
              client.audited({ actor: alice, action: "post.created", onFailure: "record" }, async (writer) => {
                await writer.insert(1)
                await writer.burn()
              })
            )
            expect(Audit.AuditError.is(lost) ? lost.reason : lost).toBe("OutcomeUnknown")
          })
          expect(yield* seen).toEqual({ changes: [], actions: [] })
        })
    )

    it.effect(
      "knows that nothing was committed if the connection was lost before the end, and records the failure",
      () =>
        Effect.gen(function* () {
          const owner = yield* Host.Owner
          const { name: role } = yield* (yield* TestDatabase).role("app")
          const terminate = owner`select pg_terminate_backend(pid, 5000) from pg_stat_activity where usename = ${role}`
          yield* run(async (client) => {
            const lost = await failureOf(
              client.audited({ actor: alice, action: "post.created", onFailure: "record" }, async (writer) => {
                await writer.insert(1)
                await Effect.runPromise(terminate)
                // The first statement may be the one that finds out.
                await writer.count().catch(() => undefined)
                await new Promise((resolve) => setImmediate(resolve))
                await writer.count().catch(() => undefined)
              })
            )
            expect(Audit.AuditError.is(lost) && lost.reason).not.toBe("OutcomeUnknown")
            if (["a pool of pg", "a client of pg", "Drizzle on pg", "Kysely"].includes(name)) {
              expect(lost).toMatchObject({ reason: "ConnectionLost" })
            }
          })
          expect(yield* seen).toEqual({
            changes: [],
            actions: name === "a client of pg" ? [] : ["post.created error by 42"]
          })
        })
    )

    for (const [notices, goOn] of Object.entries(afterLoss)) {
      it.effect(`loses nothing else if the connection is lost while the body ${notices}`, () =>
        Effect.gen(function* () {
          const owner = yield* Host.Owner
          const { name: role } = yield* (yield* TestDatabase).role("app")
          const terminate = owner`select pg_terminate_backend(pid, 5000) from pg_stat_activity where usename = ${role}`
          yield* run(async (client) => {
            const ended = withResolvers()
            const lost = await failureOf(
              client.audited({ actor: alice, action: "post.created", onFailure: "record" }, async (writer) => {
                await writer.insert(1)
                await Effect.runPromise(terminate)
                await new Promise((resolve) => setTimeout(resolve, 50))
                await goOn(writer).finally(() => setTimeout(ended.resolve, 20))
              })
            )
            expect(Audit.AuditError.is(lost) && lost.reason).not.toBe("OutcomeUnknown")
            await ended.promise
            // The client has other connections for the next call.
            if (name !== "a client of pg") {
              await client.audited({ actor: bob, action: "post.kept" }, (writer) => writer.insert(9))
            }
          })
          expect(yield* seen).toEqual(
            name === "a client of pg"
              ? { changes: [], actions: [] }
              : { changes: ["9 by user:bob"], actions: ["post.created error by 42", "post.kept ok by bob, linked"] }
          )
        })
      )
    }

    it.effect("loses nothing else if the connection is lost while a statement waits, and the body goes on", () =>
      Effect.gen(function* () {
        const owner = yield* Host.Owner
        const { name: role } = yield* (yield* TestDatabase).role("app")
        yield* run(async (client) => {
          const lost = await failureOf(
            client.audited({ actor: alice, action: "post.created", onFailure: "record" }, (writer) =>
              Effect.runPromise(
                owner.withTransaction(
                  Effect.gen(function* () {
                    yield* owner`lock table posts`
                    const waiting = writer.insert(1).catch(() => writer.insert(2).catch(() => writer.insert(3)))
                    waiting.catch(() => undefined)
                    yield* Effect.repeat(
                      owner`
                        select pg_terminate_backend(pid) from pg_stat_activity
                        where usename = ${role} and wait_event_type = 'Lock'`,
                      { until: (rows) => rows.length > 0 }
                    )
                    yield* Effect.promise(() => waiting.catch(() => undefined))
                  })
                )
              )
            )
          )
          expect(Audit.AuditError.is(lost) && lost.reason).not.toBe("OutcomeUnknown")
          if (name !== "a client of pg") {
            await client.audited({ actor: bob }, (writer) => writer.insert(9))
          }
        })
        expect((yield* seen).changes).toEqual(name === "a client of pg" ? [] : ["9 by user:bob"])
      })
    )

    it.effect("is right inside savepoints of the host, those that are undone included", () =>
      Effect.gen(function* () {
        yield* run(async (client) => {
          await client.audited({ actor: alice, action: "outer" }, async (writer) => {
            await writer.insert(1)
            await writer.savepoint(async (inner) => {
              await inner.insert(2)
              await inner.audited({ actor: bob, action: "inner" }, (deepest) => deepest.insert(3))
              await inner.insert(4)
            })
            const refused = writer.savepoint(async (inner) => {
              await inner.audited({ actor: bob, action: "undone" }, (deepest) => deepest.insert(5))
              throw new Refused("no")
            })
            expect(await failureOf(refused)).toBeInstanceOf(Refused)
            await writer.insert(6)
            const halfway = writer.savepoint((inner) =>
              inner.audited({ actor: bob, action: "undone" }, async (deepest) => {
                await deepest.insert(7)
                throw new Refused("no")
              })
            )
            expect(await failureOf(halfway)).toBeInstanceOf(Refused)
            await Promise.all([writer.insert(8), writer.count(), writer.insert(9)])
          })
        })
        expect(yield* seen).toEqual({
          changes: [
            "1 by user:42",
            "2 by user:42",
            "3 by user:bob",
            "4 by user:42",
            "6 by user:42",
            "8 by user:42",
            "9 by user:42"
          ],
          actions: ["inner ok by bob, linked", "outer ok by 42, linked"]
        })
      })
    )

    // A client alone has one transaction at a time.
    if (name !== "a client of pg") {
      it.effect(
        "throws the client's own error if transactions cannot be serialized, so that the host tries again",
        () =>
          Effect.gen(function* () {
            yield* run(async (client) => {
              let met = 0
              let both = (): void => undefined
              const together = new Promise<void>((resolve) => {
                both = resolve
              })
              // Each reads what the other one writes. The server notices at a statement of Threadline's own, or at COMMIT.
              const attempt = (id: number) =>
                client.serializable({ actor: alice, action: "post.created" }, async (writer) => {
                  await writer.count()
                  await writer.insert(id)
                  met++
                  if (met >= 2) {
                    both()
                  }
                  await together
                })
              const outcomes = await Promise.allSettled([attempt(1), attempt(2)])
              const failures = outcomes.flatMap((outcome) =>
                outcome.status === "rejected" ? [outcome.reason as unknown] : []
              )
              expect(failures.length).toBe(1)
              expect(Audit.AuditError.is(failures[0])).toBe(false)
              expect(inspect(failures[0], { depth: 6 })).toMatch(/40001|P2034/)
              await attempt(outcomes[0].status === "rejected" ? 1 : 2)
            })
            expect(yield* Host.postIds).toEqual([1, 2])
            expect((yield* seen).actions).toEqual(["post.created ok by 42, linked", "post.created ok by 42, linked"])
          })
      )
    }

    it.effect("takes what the client lets a transaction be set to", () =>
      run(async (client) => {
        const level = await client.serializable({ actor: alice }, (writer) => client.isolation(writer))
        expect(JSON.stringify(level)).toContain("serializable")
        expect(
          await failureOf(
            client.audited({ actor: alice }, (writer) =>
              writer.audited({ transaction: "serializable" } as object, () => Promise.resolve())
            )
          )
        ).toMatchObject({ reason: "NotOutermost" })
      })
    )
  })
}
