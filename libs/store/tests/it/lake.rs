//! An S3 server on loopback with one bucket, `lake`, whose objects are files: `s3s-fs`, and the list of uploads in parts, which
//! that lacks. Tests of this crate put faults before it (`s3_server.rs`); the proofs of the worker take it as it is.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::dto;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{S3, S3Request, S3Response, S3Result};
use tokio::net::TcpListener;

pub(crate) const KEY: &str = "AKIAEXAMPLE";
pub(crate) const SECRET: &str = "hunter2hunter2hunter2";

pub(crate) type Failed = Box<dyn std::error::Error + Send + Sync>;

struct Lake {
    files: s3s_fs::FileSystem,
    folder: PathBuf,
    /// The keys of all uploads in parts there ever were.
    keys: Mutex<BTreeMap<String, String>>,
}

macro_rules! lake {
    ($($act:ident: $input:ident, $output:ident;)*) => {
        #[async_trait]
        impl S3 for Lake {
            $(async fn $act(&self, request: S3Request<dto::$input>) -> S3Result<S3Response<dto::$output>> {
                self.files.$act(request).await
            })*

            async fn create_multipart_upload(
                &self,
                request: S3Request<dto::CreateMultipartUploadInput>,
            ) -> S3Result<S3Response<dto::CreateMultipartUploadOutput>> {
                let key = request.input.key.clone();
                let answer = self.files.create_multipart_upload(request).await?;
                let id = answer.output.upload_id.clone().unwrap_or_default();
                self.keys.lock().unwrap_or_else(PoisonError::into_inner).insert(id, key);
                Ok(answer)
            }

            async fn list_multipart_uploads(
                &self,
                request: S3Request<dto::ListMultipartUploadsInput>,
            ) -> S3Result<S3Response<dto::ListMultipartUploadsOutput>> {
                let prefix = request.input.prefix.unwrap_or_default();
                let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
                let open = keys.iter().filter(|(id, key)| {
                    key.starts_with(&prefix) && self.folder.join(format!(".upload-{id}.json")).exists()
                });
                let open = open.map(|(id, key)| dto::MultipartUpload {
                    key: Some(key.clone()),
                    upload_id: Some(id.clone()),
                    ..dto::MultipartUpload::default()
                });
                let uploads = Some(open.collect());
                Ok(S3Response::new(dto::ListMultipartUploadsOutput { uploads, ..Default::default() }))
            }
        }
    };
}

lake! {
    abort_multipart_upload: AbortMultipartUploadInput, AbortMultipartUploadOutput;
    complete_multipart_upload: CompleteMultipartUploadInput, CompleteMultipartUploadOutput;
    delete_object: DeleteObjectInput, DeleteObjectOutput;
    delete_objects: DeleteObjectsInput, DeleteObjectsOutput;
    get_object: GetObjectInput, GetObjectOutput;
    head_object: HeadObjectInput, HeadObjectOutput;
    list_objects_v2: ListObjectsV2Input, ListObjectsV2Output;
    list_parts: ListPartsInput, ListPartsOutput;
    put_object: PutObjectInput, PutObjectOutput;
    upload_part: UploadPartInput, UploadPartOutput;
}

/// The server's work, in a folder.
pub(crate) fn service(folder: &Path) -> S3Service {
    std::fs::create_dir_all(folder.join("lake")).expect("the bucket");
    let files = s3s_fs::FileSystem::new(folder).expect("its files");
    let mut builder = S3ServiceBuilder::new(Lake { files, folder: folder.to_owned(), keys: Mutex::default() });
    builder.set_auth(SimpleAuth::from_single(KEY, SECRET));
    builder.build()
}

/// Serves until it is aborted. A request goes to its end even when its client goes away, as with S3.
pub(crate) async fn serve<F, B>(listener: TcpListener, answer: impl Fn(Request<Incoming>) -> F + Clone + Send + 'static)
where
    F: Future<Output = Result<Response<B>, Failed>> + Send + 'static,
    B: Body<Data: Send, Error: Into<Failed>> + Send + 'static,
{
    let mut open = tokio::task::JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        while open.try_join_next().is_some() {}
        let answer = answer.clone();
        open.spawn(async move {
            let work = service_fn(move |request| {
                let answered = tokio::spawn(answer(request));
                async move { answered.await.map_err(io::Error::other)?.map_err(io::Error::other) }
            });
            // A connection that breaks is what some tests want.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), work).await;
        });
    }
}

/// Does what a request asks for.
pub(crate) async fn work(service: &S3Service, request: Request<Incoming>) -> Result<Response<s3s::Body>, Failed> {
    service.call(request.map(s3s::Body::from)).await.map_err(|error| format!("{error:?}").into())
}
