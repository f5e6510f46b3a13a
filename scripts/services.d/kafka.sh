# Apache Kafka, one node in KRaft mode, with every kind of listener that the tests need.
# shellcheck shell=bash
#
#   1 PLAINTEXT        anonymous, a super user
#   2 CONTROLLER       the broker's own
#   3 SASL_PLAINTEXT   PLAIN, SCRAM-SHA-256, SCRAM-SHA-512
#   4 SSL              certificate for localhost and 127.0.0.1 from a self-made authority
#   5 SASL_SSL         both
#   6 EXPIRED          TLS with a certificate that has expired
#
# Users (password = KAFKA_PASSWORD): `headgate` and, for tests of authorisation, `restricted`; whatever no ACL names is open.
# SCRAM needs a client on librdkafka 2.6.1 or newer: older ones (Debian 12's kcat) repeat the nonce wrongly, and this broker minds.

KAFKA_VERSION=4.1.1
KAFKA_TEST_PASSWORD=headgate-secret

kafka_variable() { echo KAFKA_BROKERS; }

kafka_java() { java -cp "$CACHE/kafka-$KAFKA_VERSION/*" "$@"; }

kafka_start() {
    local name=$1 dir="$STATE/$1"
    need java default-jre-headless
    mkdir -p "$dir"
    cached "$CACHE/kafka-$KAFKA_VERSION" maven_copy "$ROOT/scripts/services.d/kafka-pom.xml"
    cached "$CACHE/kafka-tls" kafka_certificates
    ports "$name" 6 >/dev/null
    kafka_properties "$name" >"$dir/server.properties"
    if [ ! -f "$dir/data/meta.properties" ]; then
        kafka_java kafka.tools.StorageTool format -t "$(kafka_java kafka.tools.StorageTool random-uuid)" \
            -c "$dir/server.properties" \
            --add-scram "SCRAM-SHA-256=[name=headgate,password=$KAFKA_TEST_PASSWORD]" \
            --add-scram "SCRAM-SHA-512=[name=headgate,password=$KAFKA_TEST_PASSWORD]" >"$dir/format.log" 2>&1 ||
            { cat "$dir/format.log" >&2; die "Kafka's storage could not be formatted"; }
    fi
    kafka_mark=$(stat -c %s "$(log_of "$name")" 2>/dev/null || echo 0)
    spawn "$name" java "-Xmx${KAFKA_HEAP:-512m}" -Dlog4j2.configurationFile="$ROOT/scripts/services.d/kafka-log4j2.xml" \
        -cp "$CACHE/kafka-$KAFKA_VERSION/*" kafka.Kafka "$dir/server.properties"
    # The sockets are bound early; the broker serves once it says so.
    await "$name" 90 kafka_serves "$name"
}

kafka_serves() { tail -c "+$((kafka_mark + 1))" "$(log_of "$1")" | grep -q 'Kafka Server started'; }

kafka_stop() { terminate "$1" TERM; }

kafka_env() {
    echo "export KAFKA_BROKERS=127.0.0.1:$(port "$1" 1)"
    echo "export KAFKA_SASL_PLAINTEXT_BROKERS=127.0.0.1:$(port "$1" 3)"
    echo "export KAFKA_SSL_BROKERS=127.0.0.1:$(port "$1" 4)"
    echo "export KAFKA_SASL_SSL_BROKERS=127.0.0.1:$(port "$1" 5)"
    echo "export KAFKA_EXPIRED_BROKERS=127.0.0.1:$(port "$1" 6)"
    echo "export KAFKA_CA=$CACHE/kafka-tls/ca.pem"
    echo "export KAFKA_USER=headgate"
    echo "export KAFKA_PASSWORD=$KAFKA_TEST_PASSWORD"
}

kafka_properties() {
    local name=$1 tls="$CACHE/kafka-tls" listener
    local plain="org.apache.kafka.common.security.plain.PlainLoginModule required"
    plain+=" user_headgate=\"$KAFKA_TEST_PASSWORD\" user_restricted=\"$KAFKA_TEST_PASSWORD\";"
    local scram="org.apache.kafka.common.security.scram.ScramLoginModule required;"
    cat <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$(port "$name" 2)
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:$(port "$name" 1),CONTROLLER://127.0.0.1:$(port "$name" 2),SASL_PLAINTEXT://127.0.0.1:$(port "$name" 3),SSL://127.0.0.1:$(port "$name" 4),SASL_SSL://127.0.0.1:$(port "$name" 5),EXPIRED://127.0.0.1:$(port "$name" 6)
advertised.listeners=PLAINTEXT://127.0.0.1:$(port "$name" 1),SASL_PLAINTEXT://127.0.0.1:$(port "$name" 3),SSL://127.0.0.1:$(port "$name" 4),SASL_SSL://127.0.0.1:$(port "$name" 5),EXPIRED://127.0.0.1:$(port "$name" 6)
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL,EXPIRED:SSL
log.dirs=$STATE/$name/data
num.partitions=1
log.cleaner.dedupe.buffer.size=16777216
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
group.initial.rebalance.delay.ms=0
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
allow.everyone.if.no.acl.found=true
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
ssl.keystore.type=PKCS12
ssl.keystore.location=$tls/broker.p12
ssl.keystore.password=headgate
listener.name.expired.ssl.keystore.type=PKCS12
listener.name.expired.ssl.keystore.location=$tls/expired.p12
listener.name.expired.ssl.keystore.password=headgate
PROPERTIES
    for listener in sasl_plaintext sasl_ssl; do
        echo "listener.name.$listener.plain.sasl.jaas.config=$plain"
        echo "listener.name.$listener.scram-sha-256.sasl.jaas.config=$scram"
        echo "listener.name.$listener.scram-sha-512.sasl.jaas.config=$scram"
    done
}

# An authority, a good certificate and an expired one, with the keytool that every Java brings.
kafka_certificates() {
    local dir=$1 each validity
    tool() { keytool -storetype PKCS12 -storepass headgate -noprompt "$@" >>"$dir/keytool.log" 2>&1 ||
        { cat "$dir/keytool.log" >&2; die "keytool failed"; }; }
    tool -genkeypair -keystore "$dir/ca.p12" -alias ca -keyalg EC -groupname secp256r1 -dname "CN=Headgate test authority" \
        -ext bc:c -ext ku:c=keyCertSign,cRLSign -startdate -10d -validity 36500
    tool -exportcert -rfc -keystore "$dir/ca.p12" -alias ca -file "$dir/ca.pem"
    for each in broker expired; do
        validity=(-startdate -3d -validity 36500)
        [ "$each" = broker ] || validity=(-startdate -3d -validity 1)
        tool -genkeypair -keystore "$dir/$each.p12" -alias "$each" -keyalg EC -groupname secp256r1 -dname "CN=localhost"
        tool -certreq -keystore "$dir/$each.p12" -alias "$each" -file "$dir/$each.csr"
        tool -gencert -rfc -keystore "$dir/ca.p12" -alias ca -infile "$dir/$each.csr" -outfile "$dir/$each.pem" \
            -ext san=dns:localhost,ip:127.0.0.1 "${validity[@]}"
        tool -importcert -keystore "$dir/$each.p12" -alias ca -file "$dir/ca.pem"
        tool -importcert -keystore "$dir/$each.p12" -alias "$each" -file "$dir/$each.pem"
    done
}
