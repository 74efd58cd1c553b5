/** What the forms of the pages do. `surface` has checked that they come from one of these pages. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as ExportJobs from "../../ExportJobs.js"
import { InvalidRequest } from "../../ThreadlineError.js"
import type { Act } from "./address.js"
import { kindNamed, kindsOf, optionsOf } from "./exportKinds.js"
import { read, tokensOf } from "./qualifiers.js"
import { redirect, type ScreenContext, type Screened } from "./screen.js"
import { jobScopeOf } from "./screens/exports.js"
import { deleteView, saveView } from "./screens/views.js"
import { jobsNeedNamedScope, noCapability, noConfirmation, notProvided } from "./screens/trouble.js"

/** Does something with jobs, under the scope of the viewer, and shows the jobs again. */
const withJobs = (
  context: ScreenContext,
  use: (jobs: ExportJobs.Service, scope: ExportJobs.ScopeOption) => Effect.Effect<unknown, ExportJobs.Failure>
): Screened => {
  const scope = jobScopeOf(context)
  return Option.match(context.services.jobs, {
    onNone: () => Effect.succeed(notProvided("ExportJobs")),
    onSome: (jobs) =>
      scope === undefined
        ? Effect.succeed(jobsNeedNamedScope)
        : Effect.as(use(jobs, scope), redirect(context.to.address("/exports")))
  })
}

const queue = (fields: URLSearchParams, context: ScreenContext): Screened =>
  withJobs(context, (jobs, scope) =>
    Effect.gen(function* () {
      const kinds = kindsOf(context.formats)
      const kind = kindNamed(fields.get("format"))
      if (kind === undefined || !kinds.includes(kind)) {
        return yield* new InvalidRequest({ field: "format", rule: `must be one of ${kinds.join(", ")}` })
      }
      const { filter } = yield* read(tokensOf(fields.get("filter") ?? ""), context.zone)
      const { cursor: _, limit: __, order: ___, ...whole } = filter
      return yield* jobs.queue({ ...optionsOf(kind), filter: whole, requestedBy: context.viewer.actor, ...scope })
    })
  )

/** Records `retention.started` under the viewer's name, then starts the purge. The purge continues after the answer. */
const startRetention = (fields: URLSearchParams, context: ScreenContext): Screened => {
  const { retention: policy, services, viewer } = context
  if (fields.get("confirm")?.trim() !== "purge") {
    return Effect.succeed(noConfirmation)
  }
  return Option.match(Option.all({ audit: services.audit, retention: services.retention }), {
    onNone: () => Effect.succeed(notProvided("Retention")),
    onSome: ({ audit, retention }) =>
      Effect.gen(function* () {
        if (policy === undefined || viewer.actor === undefined) {
          return notProvided("Retention")
        }
        const plan = yield* retention.plan(policy)
        yield* audit.record(
          {
            name: "retention.started",
            data: { changes: plan.changes, transactions: plan.transactions, actions: plan.actions }
          },
          { actor: viewer.actor, source: "operator surface" }
        )
        yield* Effect.forkDaemon(
          retention
            .purge(plan, { actor: viewer.actor })
            .pipe(
              Effect.catchAllCause((cause) =>
                Cause.isInterruptedOnly(cause) ? Effect.void : Effect.logError("a run of retention failed", cause)
              )
            )
        )
        return redirect(context.to.address("/policy/retention"))
      })
  })
}

export const act = (name: Act, fields: URLSearchParams, context: ScreenContext, back: string): Screened => {
  const needs = name.startsWith("exports/") ? "export" : name === "policy/retention/run" ? "retention" : undefined
  if (needs !== undefined && !context.viewer.may(needs)) {
    return Effect.succeed(noCapability(needs))
  }
  switch (name) {
    case "exports/queue":
      return queue(fields, context)
    case "exports/cancel":
      return withJobs(context, (jobs, scope) => jobs.cancel(fields.get("id") ?? "", scope))
    case "exports/retry":
      return withJobs(context, (jobs, scope) => jobs.retry(fields.get("id") ?? "", scope))
    case "policy/retention/run":
      return startRetention(fields, context)
    case "theme":
      return Effect.succeed(redirect(back))
    case "views/save":
      return saveView(fields, context)
    case "views/delete":
      return deleteView(fields, context)
  }
}
