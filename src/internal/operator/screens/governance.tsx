/** The governance screens: which tables are captured, what is redacted, and how long the record is kept. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { VNode } from "preact"
import type * as Continuity from "../../../Continuity.js"
import type * as Health from "../../../Health.js"
import type * as Retention from "../../../Retention.js"
import { ActionForm } from "../design/ActionForm.js"
import { Tag, type Tone } from "../design/Badge.js"
import { Copy } from "../design/Copy.js"
import { Empty } from "../design/Empty.js"
import { Facts } from "../design/Facts.js"
import { JsonView } from "../design/JsonView.js"
import { ActorName } from "../design/Names.js"
import { Notice } from "../design/Notice.js"
import { Panel } from "../design/Panel.js"
import { Table } from "../design/Table.js"
import { Text } from "../design/Text.js"
import { Time } from "../design/Time.js"
import { shortTable } from "../address.js"
import { type Asked, page, type Screened } from "../screen.js"
import { useSite } from "../site.js"
import { ContinuityView, readinessOf } from "./continuity.js"
import { plural } from "./timeline.js"
import { notProvided } from "./trouble.js"

const tones: Readonly<Record<Health.CoverageStatus, Tone>> = { covered: "good", uncovered: "bad", gap: "plain" }

const severities: Readonly<Record<Health.Severity, Tone>> = { error: "bad", warning: "warn", info: "plain" }

/** The most rows of a table on these pages. */
const most = 60

const FindingRow = ({ finding }: { readonly finding: Health.Finding }): VNode => (
  <tr>
    <td class="fit">
      <Tag tone={severities[finding.severity]}>{finding.severity}</Tag>
    </td>
    <td>
      <Text text={shortTable(finding.object)} limit={130} />
    </td>
    <td>
      <Text text={finding.message} limit={400} />
      {finding.fix === null ? null : finding.mend?._tag === "host" ? (
        <div class="sub">
          <Text text={finding.fix} limit={400} />
        </div>
      ) : (
        <div class="sub">
          <code>
            <Text text={finding.fix} limit={400} />
          </code>
          <Copy text={finding.fix} name="what mends it" />
        </div>
      )}
    </td>
  </tr>
)

const CoverageRow = ({ coverage }: { readonly coverage: Health.Coverage }): VNode => {
  const { to } = useSite()
  const partitions = coverage.relations.filter(({ partition }) => partition)
  const uncovered = partitions.filter(({ status }) => status === "uncovered").length
  const open = coverage.lapses.find(({ until }) => until === null)
  return (
    <tr>
      <th scope="row">
        <a href={to.timeline({ table: coverage.table }, { since: "all" })}>
          <Text text={shortTable(coverage.table)} limit={130} />
        </a>
      </th>
      <td class="fit">
        <Tag tone={tones[coverage.status]}>{coverage.status}</Tag>
      </td>
      <td data-name="since">
        {coverage.since === null ? <span class="dim">never</span> : <Time at={coverage.since} form="minute" />}
      </td>
      <td>
        {coverage.reason === null ? null : (
          <>
            <Text text={coverage.reason} limit={200} />{" "}
          </>
        )}
        {coverage.exists ? null : <Tag tone="bad">no such table</Tag>}
        {uncovered === 0 ? null : `${uncovered} of ${plural(partitions.length, "partition")} uncovered. `}
        {open === undefined || open.since === null ? null : (
          <>
            nothing is known since <Time at={open.since} form="minute" />.{" "}
          </>
        )}
        {coverage.lapses.length === 0 ? null : <span class="sub">{plural(coverage.lapses.length, "lapse")}</span>}
        {coverage.keptSince === null || (coverage.since !== null && coverage.keptSince <= coverage.since) ? null : (
          <span class="sub">
            {" "}
            kept since <Time at={coverage.keptSince} form="minute" />
          </span>
        )}
      </td>
    </tr>
  )
}

const CoverageView = ({
  readiness,
  report
}: {
  readonly report: Health.Report
  readonly readiness: ReadonlyArray<Continuity.Readiness>
}): VNode => {
  const { zone } = useSite()
  const { findings, tables } = report
  const uncovered = tables.filter(({ status }) => status === "uncovered").length
  const grave = findings.filter(({ severity }) => severity === "error").length
  return (
    <>
      <h1>Coverage</h1>
      <Facts>
        <b>
          {tables.length - uncovered} of {plural(tables.length, "table")}
        </b>{" "}
        captured or declared as a gap, {plural(findings.length, "finding")}
        {grave === 0 ? "" : `, ${grave} of them grave`}. Seen{" "}
        <b>
          <Time at={report.at} live /> {zone}
        </b>
        .
      </Facts>
      {report.watch === null ? null : (
        <p class="sub">Schema watch: {typeof report.watch === "string" ? report.watch : "looked at"}</p>
      )}
      {findings.length === 0 ? (
        <Notice>
          <b>Nothing was found that is wrong.</b>
        </Notice>
      ) : (
        <section>
          <h2>Findings</h2>
          <Table caption="Findings, the graver ones first" columns={["Severity", "What", "Finding and what mends it"]}>
            <tbody>
              {findings.slice(0, most).map((finding, index) => (
                <FindingRow key={`${finding.code} ${index}`} finding={finding} />
              ))}
            </tbody>
          </Table>
          {findings.length > most ? <p class="sub">and {findings.length - most} more</p> : null}
          <p />
        </section>
      )}
      <section>
        <h2>Tables</h2>
        {tables.length === 0 ? (
          <Empty title="No table is captured">
            <p>
              <code>threadline capture apply</code> captures the tables of the configuration.
            </p>
          </Empty>
        ) : (
          <Table caption="Tables by name" columns={["Table", "Status", "Captured since", "Remarks"]}>
            <tbody>
              {[...tables]
                .sort((one, other) => Number(other.status === "uncovered") - Number(one.status === "uncovered"))
                .slice(0, most)
                .map((coverage) => (
                  <CoverageRow key={coverage.table} coverage={coverage} />
                ))}
            </tbody>
          </Table>
        )}
        {tables.length > most ? <p class="sub">and {tables.length - most} more, all in the command below</p> : null}
      </section>
      <ContinuityView tables={readiness} />
    </>
  )
}

export const coverage = (asked: Asked): Screened =>
  Option.match(asked.services.health, {
    onNone: () => Effect.succeed(notProvided("Health")),
    onSome: (service) =>
      Effect.map(
        Effect.all([service.report(asked.health), readinessOf(asked)], { concurrency: 2 }),
        ([report, readiness]) =>
          page({
            title: "Coverage",
            place: "coverage",
            command: { _tag: "Words", words: ["health"] },
            view: () => <CoverageView report={report} readiness={readiness} />
          })
      )
  })

const states: Readonly<Record<Health.PolicyComparison["state"], Tone>> = {
  same: "good",
  differs: "bad",
  "not captured": "bad",
  "not configured": "plain",
  refused: "bad"
}

const Shown = ({ shown }: { readonly shown: Health.Shown | null }): VNode =>
  shown === null ? (
    <span class="dim">–</span>
  ) : shown === "clear" ? (
    <span>in clear</span>
  ) : (
    <Tag tone="warn">{shown}</Tag>
  )

const PolicyPanel = ({ policy }: { readonly policy: Health.PolicyComparison }): VNode => {
  const telling = policy.columns.filter(
    ({ configured, deployed, sensitive }) =>
      configured !== deployed || (deployed !== "clear" && deployed !== null) || sensitive
  )
  return (
    <Panel
      title={<Text text={shortTable(policy.table)} limit={130} />}
      aside={<Tag tone={states[policy.state]}>{policy.state === "same" ? "as configured" : policy.state}</Tag>}
    >
      {policy.findings.map((finding, index) => (
        <p key={index}>
          <Tag tone={severities[finding.severity]}>{finding.severity}</Tag> <Text text={finding.message} limit={300} />
        </p>
      ))}
      {telling.length === 0 ? (
        <p class="sub">{plural(policy.columns.length, "column")}, all in clear.</p>
      ) : (
        <Table caption={`Columns of ${policy.table}`} columns={["Column", "Configured", "Deployed", "Remarks"]}>
          <tbody>
            {telling.slice(0, 20).map(({ acknowledged, column, configured, deployed, sensitive }) => (
              <tr key={column}>
                <th scope="row" class="mono">
                  <Text text={column} limit={130} />
                </th>
                <td data-name="configured">
                  <Shown shown={configured} />
                </td>
                <td data-name="deployed">
                  <Shown shown={deployed} />
                </td>
                <td class="sub">
                  {sensitive ? "its name looks sensitive" : ""}
                  {acknowledged ? ", in clear on purpose" : ""}
                </td>
              </tr>
            ))}
          </tbody>
        </Table>
      )}
      {telling.length > 20 ? <p class="sub">and {telling.length - 20} more columns</p> : null}
    </Panel>
  )
}

const RedactionView = ({ policies }: { readonly policies: ReadonlyArray<Health.PolicyComparison> }): VNode => {
  const drifted = policies.filter(({ drift }) => drift).length
  return (
    <>
      <h1>Redaction</h1>
      <Facts>
        <b>{plural(policies.length, "table")}</b>,{" "}
        {drifted === 0 ? "none differs from its configuration" : `${plural(drifted, "table")} not as configured`}. A
        masked value is never stored; an excluded column is not recorded at all.
      </Facts>
      {policies.length === 0 ? (
        <Empty title="No table is captured">
          <p>There is no policy to show.</p>
        </Empty>
      ) : (
        [...policies]
          .sort((one, other) => Number(other.drift) - Number(one.drift))
          .slice(0, 25)
          .map((policy) => <PolicyPanel key={policy.table} policy={policy} />)
      )}
      {policies.length > 25 ? (
        <p class="sub">and {policies.length - 25} more tables, all in the command below</p>
      ) : null}
    </>
  )
}

export const redaction = ({ health, services }: Asked): Screened =>
  Option.match(services.health, {
    onNone: () => Effect.succeed(notProvided("Health")),
    onSome: (service) =>
      Effect.map(service.policies(health), (policies) =>
        page({
          title: "Redaction",
          place: "redaction",
          command: { _tag: "Words", words: ["policy", "show"] },
          view: () => <RedactionView policies={policies} />
        })
      )
  })

const runTones: Readonly<Record<Retention.State, Tone>> = {
  running: "plain",
  completed: "good",
  stopped: "warn",
  cancelled: "warn",
  failed: "bad"
}

const RetentionView = ({
  configured,
  plan,
  runs
}: {
  readonly configured: boolean
  readonly plan: Retention.Plan | undefined
  readonly runs: ReadonlyArray<Retention.Run>
}): VNode => {
  const { viewer, zone } = useSite()
  return (
    <>
      <h1>Retention</h1>
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
                ; nothing from{" "}
                <b>
                  <Time at={plan.cutoff} /> {zone}
                </b>{" "}
                on
              </>
            )}
            .
          </>
        )}
      </Facts>
      {plan === undefined ? null : (
        <div class="cols">
          <Panel title="Policy">
            <JsonView value={plan.policy} />
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
                      {plural(changes, "change")}, {how}
                    </span>
                  </li>
                ))}
              </ul>
            )}
          </Panel>
        </div>
      )}
      {plan !== undefined && plan.changes > 0 && viewer.may("retention") ? (
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
            <button class="go">Remove {plural(plan.changes, "change")}</button>
          </ActionForm>
        </Panel>
      ) : null}
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
                  <td>
                    {run.actor === null ? <Text text={run.dbUser} limit={63} /> : <ActorName actor={run.actor} />}
                  </td>
                </tr>
              ))}
            </tbody>
          </Table>
        )}
      </section>
    </>
  )
}

export const retention = ({ retention: policy, services }: Asked): Screened =>
  Option.match(services.retention, {
    onNone: () => Effect.succeed(notProvided("Retention")),
    onSome: (service) =>
      Effect.gen(function* () {
        const runs = yield* service.runs({ limit: 20 })
        const plan =
          policy === undefined
            ? undefined
            : Option.getOrUndefined(yield* Effect.timeoutOption(service.plan(policy), "6 seconds"))
        return page({
          title: "Retention",
          place: "retention",
          command: { _tag: "Words", words: policy === undefined ? ["retention", "runs"] : ["retention", "plan"] },
          view: () => <RetentionView configured={policy !== undefined} plan={plan} runs={runs.items} />
        })
      })
  })
