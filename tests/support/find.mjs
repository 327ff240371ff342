// Prints the replies of all services to PING, INFO and STATS, as JSON.
import { connect } from "@nats-io/transport-node";
import { Svcm } from "@nats-io/services";

const nc = await connect({ servers: process.argv[2] });
const client = new Svcm(nc).client();

async function all(replies) {
  const found = [];
  for await (const reply of replies) found.push(reply);
  return found;
}

console.log(JSON.stringify({
  ping: await all(await client.ping("rosey-dbsvc")),
  info: await all(await client.info("rosey-dbsvc")),
  stats: await all(await client.stats("rosey-dbsvc")),
}));
await nc.close();
