/** How each table is redacted, as configured and as deployed. */
import * as Effect from "effect/Effect"
import type { VNode } from "preact"
import type * as Health from "../../../Health.js"
import { shortTable } from "../../core/words.js"
import { Tag, type Tone } from "../design/Badge.js"
import { Empty } from "../design/Empty.js"
import { Facts } from "../design/Facts.js"
import { Panel } from "../design/Panel.js"
import { Table } from "../design/Table.js"
import { Text } from "../design/Text.js"
import { page, type ScreenContext, type Screened } from "../screen.js"
import { useSite } from "../site.js"
import { counted, plural } from "./timeline.js"
import { notProvided, SeenBefore, underWay } from "./trouble.js"
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

/** The columns that are masked or look sensitive, or whose configuration differs from what is deployed. */
const tellingOf = ({ columns }: Health.PolicyComparison) =>
  columns.filter(
    ({ configured, deployed, sensitive }) =>
      (configured !== null && configured !== deployed) || (deployed !== "clear" && deployed !== null) || sensitive
  )

const isPlain = (policy: Health.PolicyComparison): boolean =>
  !policy.drift && policy.findings.length === 0 && tellingOf(policy).length === 0

/** The most columns of one table to show. */
const mostColumns = 20

/** The rows for one table: its findings, then its remarkable columns. */
const PolicyRows = ({
  compared,
  policy
}: {
  readonly policy: Health.PolicyComparison
  readonly compared: boolean
}): VNode => {
  const telling = tellingOf(policy)
  const shown = telling.slice(0, mostColumns)
  const rows: ReadonlyArray<VNode> = [
    ...policy.findings.map((finding) => (
      <td colSpan={4}>
        <Tag tone={severities[finding.severity]}>{finding.severity}</Tag> <Text text={finding.message} limit={300} />
      </td>
    )),
    ...shown.map(({ acknowledged, column, configured, deployed, sensitive }) => (
      <>
        <td class="mono" data-name="column">
          <Text text={column} limit={130} />
        </td>
        <td data-name="configured">
          <Shown shown={configured} />
        </td>
        <td data-name="deployed">
          <Shown shown={deployed} />
        </td>
        <td class="sub">
          {[sensitive ? "its name looks sensitive" : "", acknowledged ? "in clear on purpose" : ""]
            .filter((remark) => remark !== "")
            .join(", ")}
        </td>
      </>
    )),
    ...(telling.length > shown.length
      ? [
          <td colSpan={4} class="sub">
            and {plural(telling.length - shown.length, "more column")}
          </td>
        ]
      : []),
    ...(telling.length === 0
      ? [
          <td colSpan={4} class="sub">
            {policy.columns.length === 0 ? "" : `${plural(policy.columns.length, "column")}, all in clear`}
          </td>
        ]
      : [])
  ]
  return (
    <tbody>
      {rows.map((cells, index) => (
        <tr key={index}>
          {index > 0 ? null : (
            <th scope="rowgroup" rowSpan={rows.length}>
              <Text text={shortTable(policy.table)} limit={130} />
              {policy.state === "same" ? (
                compared ? (
                  <div class="sub">as configured</div>
                ) : null
              ) : (
                <div>
                  <Tag tone={states[policy.state]}>{policy.state}</Tag>
                </div>
              )}
            </th>
          )}
          {cells}
        </tr>
      ))}
    </tbody>
  )
}

/** The tables in which nothing is hidden. They share one panel. */
const InClear = ({ policies }: { readonly policies: ReadonlyArray<Health.PolicyComparison> }): VNode | null => {
  const { room, to } = useSite()
  const shown = Math.min(most, room.fields * 3)
  return policies.length === 0 ? null : (
    <Panel title={`${plural(policies.length, "table")} in clear`} aside="every column is recorded as it is">
      <ul class="list several">
        {policies.slice(0, shown).map(({ columns, state, table }) => (
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
      </ul>
      {policies.length > shown ? (
        <p class="sub">and {counted(policies.length - shown)} more, all in the command below</p>
      ) : null}
    </Panel>
  )
}

const RedactionView = ({
  compared,
  policies
}: {
  readonly policies: ReadonlyArray<Health.PolicyComparison>
  /** Whether the host gave a configuration to compare with. */
  readonly compared: boolean
}): VNode => {
  const { room } = useSite()
  const drifted = policies.filter(({ drift }) => drift).length
  const telling = policies
    .filter((policy) => !isPlain(policy))
    .sort((one, other) => Number(other.drift) - Number(one.drift))
  return (
    <>
      <h1>Redaction</h1>
      <Facts>
        <b>{plural(policies.length, "table")}</b>,{" "}
        {!compared
          ? "and no configuration to compare with"
          : drifted === 0
            ? "none differs from its configuration"
            : `${plural(drifted, "table")} not as configured`}
        . A masked value is never stored; an excluded column is not recorded at all.
      </Facts>
      {policies.length === 0 ? (
        <Empty title="No table is captured">
          <p>There is no policy to show.</p>
        </Empty>
      ) : (
        <>
          {telling.length === 0 ? null : (
            <Table
              caption="Columns that are not recorded as they are, and what differs, by table"
              columns={["Table", "Column", "Configured", "Deployed", "Remarks"]}
            >
              {telling.slice(0, room.fields).map((policy) => (
                <PolicyRows key={policy.table} policy={policy} compared={compared} />
              ))}
            </Table>
          )}
          {telling.length > room.fields ? (
            <p class="sub">and {counted(telling.length - room.fields)} more such tables, all in the command below</p>
          ) : null}
          <p />
          <InClear policies={policies.filter(isPlain)} />
        </>
      )}
    </>
  )
}

export const redaction = ({ health, now, policiesOf, services }: ScreenContext): Screened =>
  services.health._tag === "None"
    ? Effect.succeed(notProvided("Health"))
    : Effect.map(policiesOf(now), ({ isNew, newest }) =>
        newest === undefined
          ? underWay()
          : page({
              title: "Redaction",
              place: "redaction",
              command: { _tag: "Words", words: ["policy", "show"] },
              view: () => (
                <>
                  {isNew ? null : <SeenBefore at={new Date(newest.at).toISOString()} />}
                  <RedactionView policies={newest.value} compared={health.tables !== undefined} />
                </>
              )
            })
      )
