/** Actions as a table. */
import type { VNode } from "preact"
import type * as Query from "../../../Query.js"
import { ActionName, ActorName, CorrelationName, TransactionName } from "./Names.js"
import { Tag } from "./Badge.js"
import { Table } from "./Table.js"
import { Text } from "./Text.js"
import { Time, useZoneName } from "./Time.js"

export const subjectText = (action: Query.Action): string =>
  action.subject === null ? "" : `${action.subject.type ?? ""} ${action.subject.id ?? ""}`.trim()

export const ActionTable = ({
  actions,
  caption
}: {
  readonly actions: ReadonlyArray<Query.Action>
  readonly caption: string
}): VNode => (
  <Table caption={caption} columns={[`When (${useZoneName()})`, "Action", "About", "Who", "Where"]}>
    <tbody>
      {actions.map((action) => (
        <tr key={action.id}>
          <td class="mono fit">
            <Time at={action.occurredAt} form="clock" />
            <div class="sub">
              <Time at={action.occurredAt} form="day" live />
            </div>
          </td>
          <td>
            <ActionName action={action} transactionId={action.transactionId} />
            {action.reason === null ? null : (
              <div class="sub">
                “<Text text={action.reason} limit={200} />”
              </div>
            )}
          </td>
          <td>
            <Text text={subjectText(action)} limit={120} />
          </td>
          <td>{action.actor === null ? <Tag tone="warn">no actor</Tag> : <ActorName actor={action.actor} />}</td>
          <td class="sub">
            {action.correlationId === null ? null : (
              <>
                <CorrelationName id={action.correlationId} /> ·{" "}
              </>
            )}
            {action.transactionId === null ? "no change was kept" : <TransactionName id={action.transactionId} />}
          </td>
        </tr>
      ))}
    </tbody>
  </Table>
)
