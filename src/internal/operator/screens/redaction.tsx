/** What is redacted of each table: as configured, and as deployed. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { VNode } from "preact"
import type * as Health from "../../../Health.js"
import { Tag, type Tone } from "../design/Badge.js"
import { Empty } from "../design/Empty.js"
import { Facts } from "../design/Facts.js"
import { Panel } from "../design/Panel.js"
import { Table } from "../design/Table.js"
import { Text } from "../design/Text.js"
import { shortTable } from "../address.js"
import { type Asked, page, type Screened } from "../screen.js"
import { useSite } from "../site.js"
import { plural } from "./timeline.js"
import { notProvided } from "./trouble.js"
import { most, severities } from "./coverage.js"

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

/** The columns of which there is something to say. */
const tellingOf = ({ columns }: Health.PolicyComparison) =>
  columns.filter(
    ({ configured, deployed, sensitive }) =>
      (configured !== null && configured !== deployed) || (deployed !== "clear" && deployed !== null) || sensitive
  )

const isPlain = (policy: Health.PolicyComparison): boolean =>
  !policy.drift && policy.findings.length === 0 && tellingOf(policy).length === 0

const PolicyPanel = ({ policy }: { readonly policy: Health.PolicyComparison }): VNode => {
  const telling = tellingOf(policy)
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

/** The most tables that are shown one by one. */
const mostPanels = 25

/** Tables of which nothing is hidden need no panel of their own. */
const InClear = ({ policies }: { readonly policies: ReadonlyArray<Health.PolicyComparison> }): VNode | null => {
  const { to } = useSite()
  return policies.length === 0 ? null : (
    <Panel title={`${plural(policies.length, "table")} in clear`} aside="every column is recorded as it is">
      <ul class="list">
        {policies.slice(0, most).map(({ columns, state, table }) => (
          <li key={table}>
            <a href={to.timeline({ table }, { since: "all" })}>
              <Text text={shortTable(table)} limit={130} />
            </a>
            <span class="end">
              {plural(columns.length, "column")}
              {state === "not configured" ? ", not configured" : ""}
            </span>
          </li>
        ))}
        {policies.length > most ? (
          <li class="sub">and {policies.length - most} more, all in the command below</li>
        ) : null}
      </ul>
    </Panel>
  )
}

const RedactionView = ({ policies }: { readonly policies: ReadonlyArray<Health.PolicyComparison> }): VNode => {
  const drifted = policies.filter(({ drift }) => drift).length
  const telling = policies
    .filter((policy) => !isPlain(policy))
    .sort((one, other) => Number(other.drift) - Number(one.drift))
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
        <>
          {telling.slice(0, mostPanels).map((policy) => (
            <PolicyPanel key={policy.table} policy={policy} />
          ))}
          {telling.length > mostPanels ? (
            <p class="sub">and {telling.length - mostPanels} more such tables, all in the command below</p>
          ) : null}
          <InClear policies={policies.filter(isPlain)} />
        </>
      )}
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
