/** How long the record is kept: the policy, what a run would remove now, the form that starts a run, and past runs. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { VNode } from "preact"
import * as Json from "../../../Json.js"
import type * as Retention from "../../../Retention.js"
import { shortTable } from "../../core/words.js"
import { ActionForm } from "../design/ActionForm.js"
import { Tag, type Tone } from "../design/Badge.js"
import { Facts } from "../design/Facts.js"
import { JsonView } from "../design/JsonView.js"
import { KeyValue } from "../design/KeyValue.js"
import { ActorName } from "../design/Names.js"
import { Panel } from "../design/Panel.js"
import { Table } from "../design/Table.js"
import { Text } from "../design/Text.js"
import { Time } from "../design/Time.js"
import { page, type ScreenContext, type Screened } from "../screen.js"
import { useSite } from "../site.js"
import { plural } from "./timeline.js"
import { notProvided } from "./trouble.js"

const runTones: Readonly<Record<Retention.State, Tone>> = {
  running: "plain",
  completed: "good",
  stopped: "warn",
  cancelled: "warn",
  failed: "bad"
}

const ways: Readonly<Record<Retention.Plan["items"][number]["how"], string>> = {
  drop: "as a whole month",
  empty: "as a whole month that stays, empty",
  batches: "in batches"
}

/** A policy as names and values. Complex parts are shown as JSON. */
const PolicyWords = ({ policy }: { readonly policy: Retention.Plan["policy"] }): VNode => {
  const { actions, floor, holds, keep, tables } = policy
  const further = (name: string, value: Json.JsonValue | undefined) =>
    value === undefined || value === null || Object.keys(value).length === 0
      ? undefined
      : { name, value: <JsonView value={value} /> }
  return (
    <KeyValue
      entries={[
        keep === undefined ? undefined : { name: "Kept unless said otherwise", value: <PlainValue value={keep} /> },
        floor === undefined ? undefined : { name: "Never removed before", value: <PlainValue value={floor} /> },
        further("Tables with a time of their own", tables),
        further("Actions with a time of their own", actions),
        further("Held back", holds)
      ]}
    />
  )
}

const PlainValue = ({ value }: { readonly value: Json.JsonValue }): VNode => (
  <Text text={typeof value === "string" ? value : Json.stringify(value)} limit={200} />
)

/** What would go now, in a sentence. */
const Summary = ({
  configured,
  plan
}: {
  readonly configured: boolean
  readonly plan: Retention.Plan | undefined
}): VNode => (
  <Facts>
    {!configured ? (
      "No policy is configured: nothing is ever removed."
    ) : plan === undefined ? (
      "What would go now could not be counted in time; the command below has the time."
    ) : (
      <>
        Now <b>{plural(plan.changes, "change")}</b> and {plural(plan.transactions, "transaction")} would go
        {plan.held === 0 ? "" : `, ${plural(plan.held, "change")} stay because of a hold`}
        {plan.awaited === 0
          ? ""
          : `, ${plural(plan.awaited, "change")} because a consumer of the feed has not had them`}
        {plan.cutoff === null ? null : (
          <>
            . Nothing since{" "}
            <b>
              <Time at={plan.cutoff} zoned />
            </b>{" "}
            goes
          </>
        )}
        .
      </>
    )}
  </Facts>
)

const PlanPanels = ({ plan }: { readonly plan: Retention.Plan }): VNode => (
  <div class="cols">
    <Panel title="Policy">
      <PolicyWords policy={plan.policy} />
    </Panel>
    <Panel title="What would go" aside="by table and month">
      {plan.items.length === 0 ? (
        <p class="dim">nothing</p>
      ) : (
        <ul class="list">
          {plan.items.slice(0, 30).map(({ changes, how, month, table }) => (
            <li key={`${table} ${month}`}>
              <Text text={shortTable(table)} limit={130} /> <span class="sub">{month}</span>
              <span class="end">
                {plural(changes, "change")}, {ways[how]}
              </span>
            </li>
          ))}
        </ul>
      )}
    </Panel>
  </div>
)

const StartForm = ({ plan }: { readonly plan: Retention.Plan }): VNode => (
  <Panel title="Start a run">
    <p>
      It removes what is listed above, for good, and is recorded under your name before it begins. Type{" "}
      <code>purge</code> to confirm.
    </p>
    <ActionForm act="policy/retention/run">
      <label>
        Confirmation
        <input name="confirm" autocomplete="off" required pattern="purge" />
      </label>
      <button class="bad">Remove {plural(plan.changes, "change")} for good</button>
    </ActionForm>
  </Panel>
)

const Runs = ({ runs }: { readonly runs: ReadonlyArray<Retention.Run> }): VNode => (
  <section>
    <h2>Runs</h2>
    {runs.length === 0 ? (
      <p class="dim">There was no run.</p>
    ) : (
      <Table caption="Runs, newest first" columns={["Started", "Kind", "State", "Removed", "Who"]}>
        <tbody>
          {runs.map((run) => (
            <tr key={run.id}>
              <td class="fit">
                <Time at={run.startedAt} live />
              </td>
              <td>{run.kind}</td>
              <td>
                <Tag tone={runTones[run.state]}>{run.state}</Tag>
                {run.problem === null ? null : (
                  <div class="sub">
                    <Text text={run.problem} limit={200} />
                  </div>
                )}
              </td>
              <td>
                {plural(run.changes, "change")}, {plural(run.transactions, "transaction")},{" "}
                {plural(run.actions, "action")}
              </td>
              <td>{run.actor === null ? <Text text={run.dbUser} limit={63} /> : <ActorName actor={run.actor} />}</td>
            </tr>
          ))}
        </tbody>
      </Table>
    )}
  </section>
)

const RetentionView = ({
  configured,
  plan,
  runs
}: {
  readonly configured: boolean
  readonly plan: Retention.Plan | undefined
  readonly runs: ReadonlyArray<Retention.Run>
}): VNode => {
  const { viewer } = useSite()
  return (
    <>
      <h1>Retention</h1>
      <Summary configured={configured} plan={plan} />
      {plan === undefined ? null : <PlanPanels plan={plan} />}
      {plan !== undefined && plan.changes > 0 && viewer.may("retention") ? <StartForm plan={plan} /> : null}
      <Runs runs={runs} />
    </>
  )
}

export const retention = ({ patience, retention: policy, services }: ScreenContext): Screened =>
  Option.match(services.retention, {
    onNone: () => Effect.succeed(notProvided("Retention")),
    onSome: (service) =>
      Effect.gen(function* () {
        const runs = yield* service.runs({ limit: 20 })
        const plan =
          policy === undefined
            ? undefined
            : Option.getOrUndefined(yield* Effect.timeoutOption(service.plan(policy), patience("plan")))
        return page({
          title: "Retention",
          place: "retention",
          command: { _tag: "Words", words: policy === undefined ? ["retention", "runs"] : ["retention", "plan"] },
          view: () => <RetentionView configured={policy !== undefined} plan={plan} runs={runs.items} />
        })
      })
  })
