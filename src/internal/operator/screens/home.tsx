/** The start page: the search box, the state of capture, and what just happened. */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import type { VNode } from "preact"
import type * as ExportJobs from "../../../ExportJobs.js"
import type * as Health from "../../../Health.js"
import type * as Query from "../../../Query.js"
import type { InvalidRequest } from "../../../ThreadlineError.js"
import { agreeing, shortTable } from "../../core/words.js"
import { subjectText } from "../design/Actions.js"
import { Empty } from "../design/Empty.js"
import { ActionName, ActorName, Who } from "../design/Names.js"
import { Notice } from "../design/Notice.js"
import { Hint, Search } from "../design/Search.js"
import { Text } from "../design/Text.js"
import { Time } from "../design/Time.js"
import type { Remembered } from "../remembered.js"
import { page, redirect, type Screen, type ScreenContext, type Screened } from "../screen.js"
import { actorsLabelled, type Meaning, meaningsOf, placed } from "../searchBox.js"
import { useSite } from "../site.js"
import { JobList, latestJobs } from "./exports.js"
import { CoverageLink } from "./timeline.js"
import { openView, type OwnViews, ownViewsOf, ViewList } from "./views.js"

/** How many of the newest transactions to show. */
const shown = 12

const shortTables = (tables: ReadonlyArray<string>): string => {
  const names = tables.map(shortTable)
  return names.length > 3 ? `${names.slice(0, 3).join(", ")} and ${names.length - 3} more` : names.join(", ")
}

const Recent = ({ transactions }: { readonly transactions: ReadonlyArray<Query.TransactionSummary> }): VNode => {
  const { to } = useSite()
  return (
    <section>
      <h2>Just now</h2>
      {transactions.length === 0 ? (
        <Empty title="Nothing is recorded yet">
          <p>Changes appear here as soon as a captured table is written to.</p>
          <CoverageLink />
        </Empty>
      ) : (
        <ul class="list">
          {transactions.map(({ action, changes, tables, transaction }) => (
            <li key={transaction.id}>
              <div class="what">
                {action === null ? (
                  <a href={to.transaction(transaction.id)}>
                    {changes.count}
                    {changes.exact ? "" : "+"} {agreeing(changes.count, "change")}
                  </a>
                ) : (
                  <ActionName action={action} transactionId={transaction.id} />
                )}{" "}
                <span class="sub">
                  <Text text={shortTables(tables)} limit={120} />
                </span>
                <div>
                  {transaction.actor === null ? (
                    <Who transaction={transaction} />
                  ) : (
                    <ActorName actor={transaction.actor} />
                  )}
                </div>
              </div>
              <span class="end">
                <Time at={transaction.occurredAt} form="minute" live />
              </span>
            </li>
          ))}
        </ul>
      )}
      <p class="sub">
        <a href={to.timeline()}>All changes of the last 24 hours</a> · <a href={to.actions()}>Actions</a>
      </p>
    </section>
  )
}

const Failures = ({ actions }: { readonly actions: ReadonlyArray<Query.Action> }): VNode => {
  const { to } = useSite()
  return (
    <section>
      <h2>Failed lately</h2>
      {actions.length === 0 ? (
        <p class="sub">No failed action in the last 7 days.</p>
      ) : (
        <ul class="list">
          {actions.map((action) => (
            <li key={action.id}>
              <div class="what">
                <ActionName action={action} transactionId={action.transactionId} />{" "}
                <span class="sub">
                  <Text text={subjectText(action)} limit={120} />
                </span>
                <div>{action.actor === null ? null : <ActorName actor={action.actor} />}</div>
              </div>
              <span class="end">
                <Time at={action.occurredAt} form="minute" live />
              </span>
            </li>
          ))}
        </ul>
      )}
      <p class="sub">
        <a href={to.actions({ actionStatus: "error" }, { since: "30d" })}>Failed actions of 30 days</a> ·{" "}
        <a href={to.timeline({ unattributed: true }, { since: "7d" })}>Changes without an actor</a>
      </p>
    </section>
  )
}

interface Outcome {
  readonly searchText: string
  readonly refusal: InvalidRequest | undefined
  /** The meanings that exist; if none does, all that the text could have had. */
  readonly meanings: ReadonlyArray<Meaning>
  /** Whether the meanings exist. */
  readonly several: boolean
}

const Understood = ({ meanings, refusal, searchText, several }: Outcome): VNode | null => {
  const { to } = useSite()
  if (searchText === "") {
    return null
  }
  if (refusal !== undefined) {
    return (
      <Notice tone="warn">
        <b>
          <Text text={refusal.field} limit={80} />
        </b>
        <span>
          <Text text={refusal.rule} limit={300} />
        </span>
      </Notice>
    )
  }
  return (
    <Notice tone={several ? "plain" : "warn"}>
      <b>{several ? "It could be one of these" : "Nothing is recorded of it"}</b>
      <span>
        {several ? null : "Looked for "}
        {meanings.map((meaning, index) => (
          <>
            {index === 0 ? "" : ", "}
            <a href={meaning.address(to)}>
              <Text text={meaning.name} limit={160} />
            </a>
          </>
        ))}
        {several ? "." : ", and the label of an actor among the newest transactions."}
      </span>
    </Notice>
  )
}

/** The latest coverage, if the viewer may see it. */
interface Seen {
  readonly isAllowed: boolean
  readonly seen: Remembered<ReadonlyArray<Health.Coverage>> | undefined
}

/** The state of capture in one line, and when it was read. */
const State = ({ coverage: { isAllowed, seen } }: { readonly coverage: Seen }): VNode | null => {
  const { to } = useSite()
  const link = (
    <a class="end sub" href={to.address("/coverage")}>
      Coverage
    </a>
  )
  if (!isAllowed || seen?.value.length === 0) {
    return null
  }
  if (seen === undefined) {
    return (
      <Notice>
        <span>Whether all tables are captured could not be seen in time. Load the page again, or look there:</span>
        {link}
      </Notice>
    )
  }
  const { value: coverage } = seen
  const uncovered = coverage.filter(({ status }) => status === "uncovered")
  return (
    <Notice tone={uncovered.length === 0 ? "plain" : "warn"}>
      <b>
        {uncovered.length === 0
          ? `${coverage.length === 1 ? "The one table is captured or declared as a gap" : `All ${coverage.length} tables are captured or declared as gaps`}.`
          : `${uncovered.length} of ${coverage.length} tables ${agreeing(uncovered.length, "is", "are")} not captured as they should be.`}
      </b>
      {uncovered.length === 0 ? null : (
        <span>
          <Text text={shortTables(uncovered.map(({ table }) => table))} limit={160} />
        </span>
      )}
      <span class="sub">
        seen <Time at={new Date(seen.at).toISOString()} form="minute" live />
      </span>
      {link}
    </Notice>
  )
}

const View = ({
  actions,
  coverage,
  jobs,
  outcome,
  ownViews,
  transactions
}: {
  readonly outcome: Outcome
  readonly transactions: ReadonlyArray<Query.TransactionSummary>
  readonly actions: ReadonlyArray<Query.Action>
  readonly coverage: Seen
  readonly ownViews: OwnViews | undefined
  readonly jobs: ReadonlyArray<ExportJobs.Job> | undefined
}): VNode => (
  <>
    <h1>What do you want to know?</h1>
    <Search searchText={outcome.searchText} />
    <Hint />
    <Understood {...outcome} />
    <State coverage={coverage} />
    <div class="cols">
      <Recent transactions={transactions} />
      <div>
        <ViewList ownViews={ownViews} />
        <JobList jobs={jobs} />
        <Failures actions={actions} />
      </div>
    </div>
  </>
)

const none: Outcome = { searchText: "", refusal: undefined, meanings: [], several: false }

const start = (context: ScreenContext, outcome: Outcome): Screened => {
  const { now, services, viewer } = context
  const { query } = services
  return Effect.map(
    Effect.all(
      [
        query.transactions({ limit: shown }),
        query.actions({ actionStatus: "error", limit: 6, from: new Date(now - 7 * 86_400_000).toISOString() }),
        viewer.may("coverage") && services.health._tag === "Some"
          ? Effect.map(context.coverageOf(now), (seen): Seen => ({ isAllowed: true, seen }))
          : Effect.succeed<Seen>({ isAllowed: false, seen: undefined }),
        ownViewsOf(context),
        latestJobs(context)
      ],
      { concurrency: "unbounded" }
    ),
    ([transactions, actions, coverage, ownViews, jobs]): Screen =>
      page({
        title: "Audit",
        place: "home",
        command: { _tag: "Words", words: ["transactions", "--limit", String(shown)] },
        view: () => (
          <View
            outcome={outcome}
            transactions={transactions.items}
            actions={actions.items}
            coverage={coverage}
            ownViews={ownViews}
            jobs={jobs}
          />
        )
      })
  )
}

/**
 * Redirects to the first meaning that exists; that page names the others. If none exists, looks for actors by their
 * label: redirects to the only one, and lists several.
 */
const lookUp = (context: ScreenContext, text: string, typed: ReadonlyArray<Meaning>): Screened =>
  Effect.gen(function* () {
    const { query } = context.services
    const meanings = yield* placed(query, typed)
    const certain = meanings.find(({ exists }) => exists === undefined)
    const existing =
      certain === undefined
        ? yield* Effect.filter(meanings, ({ exists }) => exists?.(query) ?? Effect.succeed(true), { concurrency: 4 })
        : [certain]
    const all =
      existing.length > 0
        ? existing
        : text.length < 3 || Buffer.byteLength(text) > 256
          ? []
          : yield* actorsLabelled(query, text)
    const [first, ...others] = all
    if (first !== undefined && (others.length === 0 || existing.length > 0)) {
      const target = new URL(first.address(context.to), "http://own.invalid")
      target.searchParams.set("q", text)
      return redirect(`${target.pathname}${target.search}`)
    }
    return yield* start(context, {
      searchText: text,
      refusal: undefined,
      meanings: all.length > 0 ? all : meanings,
      several: all.length > 0
    })
  })

export const home = (context: ScreenContext): Screened => {
  const view = context.params.get("view")
  if (view !== null) {
    return openView(view, context)
  }
  const text = (context.params.get("q") ?? "").trim()
  if (text === "") {
    return start(context, none)
  }
  return Either.match(meaningsOf(text.slice(0, 1000), context.zone), {
    onLeft: (refusal) => start(context, { searchText: text, refusal, meanings: [], several: false }),
    onRight: (meanings) => lookUp(context, text, meanings)
  })
}
