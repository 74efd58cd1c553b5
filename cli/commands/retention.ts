import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Export from "../../src/Export.js"
import * as Json from "../../src/Json.js"
import type * as Page from "../../src/Page.js"
import * as Retention from "../../src/Retention.js"
import { many } from "../../src/internal/core/words.js"
import { configuration, inputFirst, inputOnly, migratedClient, withSchema } from "../database.js"
import { actorOrUser, when } from "../describe.js"
import { Refused, UsageError } from "../exit.js"
import { type Common, choice, common, flag, value } from "../options.js"
import { answerExact, visible } from "../output.js"
import { type Given, leaf } from "../parser/declare.js"
import { inWordsOf, listed, nameOf, paging, pagingOf } from "../reading.js"
import { identifiedActorOf } from "../filter.js"
import { pathOf, showStatus, Surroundings } from "../surroundings.js"
import { layout } from "../table.js"
import { wholeNumber } from "../values.js"

/** A refusal of the input of retention is one of the options. */
const ofOptions = (options: Common) => inWordsOf((field) => nameOf(options, {}, field))

/** Runs an effect of retention. */
const inRetention = <A, E>(options: Common, call: Effect.Effect<A, E, Export.Export | Retention.Retention>) =>
  Effect.flatMap(configuration(options), (configured) =>
    inputFirst(
      Effect.provide(call, Layer.merge(Retention.layer, Export.layerWith({ record: configured.exports.record }))),
      migratedClient(options)
    ).pipe(withSchema(options, configured), ofOptions(options))
  )

/** Refuses wrong input of an effect, and asks no database. */
const checked = <A, E>(options: Common, call: Effect.Effect<A, E, Retention.Retention>) =>
  Effect.flatMap(configuration(options), (configured) =>
    inputOnly(Effect.provide(call, Retention.layer)).pipe(withSchema(options, configured), ofOptions(options))
  )

/** The policy of the configuration, without which nothing is ever removed. Wrong options are reported even then. */
const policyOf = (options: Common, planOptions: Retention.PlanOptions) =>
  Effect.flatMap(configuration(options), ({ file, retention }) =>
    retention === undefined
      ? Effect.zipRight(
          checked(options, Retention.plan({ keep: "36500 days" }, planOptions)),
          new Refused({
            message:
              `no retention is configured${file === undefined ? "" : ` in ${file}`}, so nothing is ever removed: ` +
              'add retention: { keep: "365 days" } to threadline.config.ts'
          })
        )
      : Effect.succeed(retention)
  )

const planning = {
  ...common,
  before: value("before", "INSTANT", "Keep what was captured then or later, even if it is old enough."),
  ignoreFeed: flag("ignore-feed", "Also remove what a consumer of the feed has not received; it never will.")
}

const planOptionsOf = (options: Given<typeof planning>): Retention.PlanOptions => ({
  before: Option.getOrUndefined(options.before),
  ignoreFeed: options.ignoreFeed
})

const summary = ({ actions, changes, transactions }: Pick<Retention.Plan, "actions" | "changes" | "transactions">) =>
  `${many(changes, "change")}, ${many(transactions, "transaction")} and ${many(actions, "action")}`

const words: Readonly<Record<Retention.How, string>> = {
  drop: "partition dropped",
  empty: "partition emptied",
  batches: "in batches"
}

/** What is held, and why. */
const holdsOf = ({ policy }: Retention.Plan): ReadonlyArray<string> =>
  Either.match(Retention.decodePolicy(policy), {
    onLeft: () => [],
    onRight: ({ holds = [] }) => holds.map(({ reason, ...target }) => visible(`${Json.stringify(target)}: ${reason}`))
  })

const planText = (plan: Retention.Plan, width: number): string =>
  [
    ...(plan.items.length === 0
      ? []
      : [
          layout(
            [
              { header: "table" },
              { header: "month", rigid: true },
              { header: "changes", rigid: true },
              { header: "how", rigid: true }
            ],
            plan.items.map(({ changes, how, month, table }) => [table, month, String(changes), words[how]]),
            width
          ),
          ""
        ]),
    plan.changes + plan.transactions + plan.actions === 0
      ? "Nothing would go."
      : `${summary(plan)} would go${plan.cutoff === null ? "" : `; nothing captured from ${when(plan.cutoff)} UTC on`}.`,
    ...(plan.held === 0 ? [] : [`${many(plan.held, "change stays", "changes stay")} because of a hold:`]),
    ...(plan.held === 0 ? [] : holdsOf(plan).map((hold) => `  ${hold}`)),
    ...(plan.awaited === 0
      ? []
      : [
          `${many(plan.awaited, "change stays", "changes stay")} for a consumer of the feed ("threadline consumers list").`
        ])
  ].join("\n")

export const plan = leaf("retention plan", planning, (options) =>
  Effect.gen(function* () {
    const policy = yield* policyOf(options, planOptionsOf(options))
    const planned = yield* inRetention(options, Retention.plan(policy, planOptionsOf(options)))
    yield* answerExact(
      options,
      () => Json.stringify(planned),
      (width) => planText(planned, width)
    )
  })
)

const purging = {
  ...planning,
  yes: flag("yes", "Do not ask."),
  maxBatches: value("max-batches", "NUMBER", "Stop after so many batches; the next purge continues."),
  batchSize: value("batch-size", "NUMBER", "Rows that one transaction removes; default: 2000."),
  pause: value("pause", "MILLISECONDS", "Wait between two batches; default: four times as long as the last one took."),
  archive: value("archive", "DIRECTORY", "First write what is removed into files there, and verify them."),
  actor: value("actor", "TYPE:ID", "Who purges, such as user:42; for the record.")
}

const runText = (run: Retention.Run): string =>
  [
    `Run ${run.id} ${run.state}: ${summary(run)} removed in ${many(run.batches, "batch", "batches")}.`,
    ...(run.partitions.length === 0 ? [] : [`Partitions: ${run.partitions.join(", ")}.`]),
    ...(run.problem === null ? [] : [`${run.problem}.`])
  ]
    .map(visible)
    .join("\n")

const progressText = ({ actions, batches, changes, phase, plan, transactions }: Retention.Progress): string => {
  switch (phase) {
    case "archive":
      return "archiving"
    case "changes":
      return `${changes} of ${plan.changes} changes, ${batches} batches`
    case "transactions":
      return `${transactions} of ${plan.transactions} transactions, ${batches} batches`
    case "actions":
      return `${actions} of ${plan.actions} actions, ${batches} batches`
  }
}

/** Asks once, on a terminal. Elsewhere nobody can answer, so `--yes` is required. */
const confirmed = Effect.fnUntraced(function* (yes: boolean, question: string) {
  if (yes) {
    return
  }
  const { ask } = yield* Surroundings
  const answer = yield* Option.match(ask, {
    onNone: () => Effect.succeed(false),
    onSome: (asking) => asking(question)
  })
  if (!answer) {
    return yield* new Refused({ message: "nothing was removed" })
  }
})

export const purge = leaf("retention purge", purging, (options) =>
  Effect.gen(function* () {
    const { ask } = yield* Surroundings
    if (!options.yes && Option.isNone(ask)) {
      return yield* new UsageError({
        message: "a purge removes for good, and there is no terminal to ask on: give --yes"
      })
    }
    const limits = {
      maxBatches: yield* wholeNumber("--max-batches", options.maxBatches, 1),
      batchSize: yield* wholeNumber("--batch-size", options.batchSize, 1, 100_000),
      pause: yield* wholeNumber("--pause", options.pause, 0, 3_600_000),
      actor: yield* identifiedActorOf("--actor", options.actor)
    }
    const archive = Option.isNone(options.archive)
      ? undefined
      : Retention.archiveTo(yield* pathOf(options.archive.value))
    const planOptions = planOptionsOf(options)
    const policy = yield* policyOf(options, planOptions)
    const run = yield* inRetention(
      options,
      Effect.gen(function* () {
        const planned = yield* Retention.plan(policy, planOptions)
        yield* confirmed(options.yes, `${planText(planned, 80)}\nRemove this for good? [y/N] `)
        return yield* Effect.ensuring(
          Retention.purge(planned, {
            ...limits,
            archive,
            onProgress: (progress) => showStatus(progressText(progress))
          }),
          showStatus("")
        )
      })
    )
    yield* answerExact(
      options,
      () => Json.stringify(run),
      () => runText(run)
    )
  })
)

const runsTable = (page: Page.Page<Retention.Run>, width: number): string =>
  layout(
    [
      { header: "run", rigid: true },
      { header: "kind", rigid: true },
      { header: "state", rigid: true },
      { header: "began (UTC)", rigid: true },
      { header: "changes", rigid: true },
      { header: "transactions", rigid: true },
      { header: "actions", rigid: true },
      { header: "by" }
    ],
    page.items.map((run) => [
      run.id,
      run.kind,
      run.state,
      when(run.startedAt),
      String(run.changes),
      String(run.transactions),
      String(run.actions),
      actorOrUser(run)
    ]),
    width
  )

export const runs = leaf(
  "retention runs",
  {
    ...common,
    kind: choice("kind", ["purge", "maintain"], "Only runs of this kind."),
    state: choice("state", ["running", "completed", "stopped", "cancelled", "failed"], "Only runs in this state."),
    ...paging
  },
  (options) =>
    Effect.gen(function* () {
      const page = yield* inRetention(
        options,
        Retention.runs({
          kind: Option.getOrUndefined(options.kind),
          state: Option.getOrUndefined(options.state),
          ...(yield* pagingOf(options))
        })
      )
      yield* answerExact(
        options,
        () => Json.stringify(page),
        (width) => listed(page, "Retention has not run.", () => [runsTable(page, width)])
      )
    })
)

export const maintain = leaf(
  "retention maintain",
  {
    ...common,
    months: value("months", "NUMBER", "Months for which partitions are made ahead; default: 3."),
    noReindex: flag("no-reindex", "Rebuild no index."),
    actor: value("actor", "TYPE:ID", "Who maintains, such as user:42; for the record.")
  },
  (options) =>
    Effect.gen(function* () {
      const run = yield* inRetention(
        options,
        Effect.ensuring(
          Retention.maintain({
            months: yield* wholeNumber("--months", options.months, 1, 120),
            reindex: !options.noReindex,
            actor: yield* identifiedActorOf("--actor", options.actor),
            onProgress: showStatus
          }),
          showStatus("")
        )
      )
      const { analysed, reindexed, waiting } = Retention.maintained(run)
      yield* answerExact(
        options,
        () => Json.stringify(run),
        () =>
          [
            `Run ${run.id} ${run.state}: ${many(run.partitions.length, "partition")} made, ` +
              `${many(reindexed.length, "index", "indexes")} rebuilt, ` +
              `${many(analysed.length, "partition")} analysed.`,
            ...(waiting.length === 0
              ? []
              : [`Left for the next time, because of locks or rights: ${waiting.join("; ")}.`])
          ]
            .map(visible)
            .join("\n")
      )
    })
)
