/** The function of a TRUNCATE trigger. */
import { literal } from "../../sql/sqlText.js"
import { type Code, code } from "./code.js"
import type { Parts } from "./parts.js"

export const truncateBody = ({ policy, shape }: Parts): Code => code`
  begin
    perform capture_truncate(
      tg_relid, ${literal(shape.schema)}, ${literal(shape.name)}, ${literal(shape.onTruncate)}, ${policy}
    );
    return null;
  end
`
