/** Jobs whose envelope is right, and jobs whose is not: what the record says of them, with Effect and without. */
import type * as SqlClient from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import pg from "pg"
import * as Audit from "../../src/Audit.js"
import * as AuditContext from "../../src/AuditContext.js"
import { seal } from "../../src/internal/core/envelope.js"
import * as plain from "../../src/pg.js"
import { InvalidRequest } from "../../src/ThreadlineError.js"
import { TestDatabase } from "../harness/TestDatabase.js"
import * as Host from "../support/auditedHost.js"

const actor = { type: "job", id: "send-receipt" } as const
const key = "the key of the queue"
const day = 86_400_000

/** What came out of the queue. */
interface Job {
  readonly id: number
  readonly envelope: unknown
}

/** An envelope as the queue gives it back after some days. */
const sealedBefore = (days: number, signedWith: string | undefined = key): string => {
  const cause = { actor: { type: "user", id: "42" }, correlationId: "order-77", meta: { tenant: "a" } } as const
  return Either.getOrThrow(seal(AuditContext.encode(cause), Date.now() - days * day, signedWith))
}

const wrong: Readonly<Record<string, unknown>> = {
  expired: sealedBefore(8),
  "expired, and made younger": sealedBefore(8).replace(/"sealed":"[^"]+"/, `"sealed":"${new Date().toISOString()}"`),
  "of the future": sealedBefore(-1),
  "of another actor": sealedBefore(1).replace("42", "43"),
  "signed with another key": sealedBefore(1, "guessed"),
  "of another version": sealedBefore(1).replace(`"v":1`, `"v":2`),
  "cut off": sealedBefore(1).slice(0, -20),
  missing: undefined
}

const optionsOf = (job: Job) => ({ actor, jobId: `job-${job.id}`, source: "worker", key, maxAge: "7 days" }) as const

const ownOf = (job: Job) => ({ actor, jobId: `job-${job.id}`, source: "worker" }) as const

/** Does a job, whatever its envelope is; else fails with what is wrong with it. */
type Worker = (
  job: Job,
  whatever: boolean
) => Effect.Effect<unknown, unknown, Audit.Audit | SqlClient.SqlClient | TestDatabase>

const withEffect: Worker = (job, whatever) =>
  AuditContext.fromEnvelope(job.envelope, optionsOf(job)).pipe(
    Effect.catchTag("threadline/InvalidRequest", (refusal) => (whatever ? Effect.succeed(ownOf(job)) : refusal)),
    Effect.flatMap((context) =>
      Audit.transaction(Host.insertPost(job.id), { action: "receipt.sent" }).pipe(AuditContext.withContext(context))
    )
  )

const contextOf = (job: Job, whatever: boolean): AuditContext.Fields => {
  try {
    return plain.fromEnvelope(job.envelope, optionsOf(job))
  } catch (error) {
    if (whatever && error instanceof InvalidRequest) {
      return ownOf(job)
    }
    throw error
  }
}

const withoutEffect: Worker = (job, whatever) =>
  Effect.flatMap(TestDatabase, (database) =>
    Effect.acquireUseRelease(
      Effect.map(database.role("app"), ({ url }) =>
        new pg.Client({ connectionString: url }).on("error", () => undefined)
      ),
      (client) =>
        Effect.tryPromise({
          try: async () => {
            const context = contextOf(job, whatever)
            await client.connect()
            return plain.withContext(context, () =>
              plain.audited(client, { action: "receipt.sent" }, () =>
                client.query("insert into posts (id, title) values ($1, 'x')", [job.id])
              )
            )
          },
          catch: (error) => error
        }),
      (client) => Effect.promise(() => client.end())
    )
  )

const jobs = Object.entries(wrong).map(([name, envelope], index) => ({ name, id: index + 1, envelope }))

layer(Host.layer, { excludeTestServices: true })("a job whose envelope is wrong", (it) => {
  for (const [how, work] of Object.entries({ "with Effect": withEffect, "without Effect": withoutEffect })) {
    it.effect(`is done in its own name alone, or not at all, as its worker says, ${how}`, () =>
      Effect.gen(function* () {
        yield* Host.reset
        for (const { name, ...job } of jobs) {
          const refusal: unknown = yield* Effect.flip(work(job, false))
          expect(refusal, name).toBeInstanceOf(InvalidRequest)
          expect(refusal, name).toMatchObject({ field: "envelope" })
        }
        expect(yield* Host.postIds).toEqual([])
        expect(yield* Host.actions).toEqual([])

        for (const job of jobs) {
          yield* work(job, true)
        }
        // A week is no more than seven days.
        yield* work({ id: 100, envelope: sealedBefore(6.9) }, false)
        expect(yield* Host.postIds).toEqual([...jobs.map(({ id }) => id), 100])
        const recorded = (yield* Host.transactions).map(({ actor, context_error, correlation_id, job_id, meta }) => ({
          actor,
          context_error,
          correlation_id,
          job_id,
          meta
        }))
        const own = { actor, context_error: null, correlation_id: null, meta: {} }
        expect(recorded).toEqual([
          ...jobs.map(({ id }) => ({ ...own, job_id: `job-${id}` })),
          {
            ...own,
            correlation_id: "order-77",
            job_id: "job-100",
            meta: { tenant: "a", onBehalfOf: { type: "user", id: "42" } }
          }
        ])
        expect((yield* Host.actions).map(({ actor_id }) => actor_id)).toEqual(recorded.map(() => actor.id))
      })
    )
  }
})
