import { connect } from "@nats-io/transport-node";
import { Svcm } from "@nats-io/services";
const nc = await connect({ servers: process.argv[2] });
const client = new Svcm(nc).client();
const all = async (answers) => { const found = []; for await (const one of answers) found.push(one); return found; };
console.log(JSON.stringify({
  ping: await all(await client.ping("rosey-dbsvc")),
  info: await all(await client.info("rosey-dbsvc")),
  stats: await all(await client.stats("rosey-dbsvc")),
}));
await nc.close();
